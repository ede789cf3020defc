package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed *.pml
var models embed.FS

// runner runs checks in a folder of its own.
type runner struct {
	folder string
	limit  time.Duration // for one search
	memory int           // for one search, in MB
	steps  bool          // the steps to an expected violation are wanted, too
}

// result is what became of a check.
type result struct {
	check  check
	found  verdict
	reason string // why a search was cut short
	states string // that were stored
	took   time.Duration
	steps  string // to the violation
}

func (r result) expected() bool { return r.found == r.check.expected() }

// run makes a search of the model with Spin, and runs it.
func (r runner) run(ctx context.Context, c check) result {
	began := time.Now()
	res := result{check: c}
	output, err := r.search(ctx, c)
	res.found, res.reason = judge(output, err)
	res.states = states(output)
	res.took = time.Since(began)
	if res.found == violated && (r.steps || !res.expected()) {
		res.steps, err = r.replay(ctx, c)
		if err != nil {
			res.steps = err.Error()
		}
	}
	return res
}

func (r runner) search(ctx context.Context, c check) (output string, err error) {
	folder := filepath.Join(r.folder, c.name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	source, err := models.ReadFile(c.model)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(folder, c.model), source, 0o600); err != nil {
		return "", err
	}
	if output, err = command(ctx, folder, "spin", append(c.defines(), "-a", c.model)...); err != nil {
		return output, err
	}
	output, err = command(ctx, folder, "gcc", c.build(r.memory)...)
	if err != nil {
		return output, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	return command(ctx, folder, "./pan", "-E", "-n", "-m1000000", c.table())
}

// build returns the arguments for gcc. States are stored as hashes of 64 bits. A search for a violation goes through
// the processes in the other order, which finds it a hundred times sooner, and is too short to be worth optimizing.
func (c check) build(memory int) []string {
	args := []string{"-w", "-DSAFETY", "-DHC4", "-DMEMLIM=" + strconv.Itoa(memory), "-o", "pan", "pan.c"}
	if c.expected() == violated {
		args = append(args, "-DREVERSE")
	} else if c.model != "writes.pml" {
		args = append(args, "-O2")
	}
	return args
}

// table returns the size of the hash table for states, in bits.
func (c check) table() string {
	if c.quick {
		return "-w20"
	}
	return "-w25"
}

// command returns what a program has printed, also when it fails.
func command(ctx context.Context, folder, name string, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return string(text), err
}

// What a search prints when it did not look at all states within the bounds. It also does so beside "errors: 0".
var cutShort = regexp.MustCompile(
	`max search depth too small|out of memory|reached -DMEMLIM bound|Search not completed|VECTORSZ|hash-table full`)

// judge returns what a search has found. Only a complete search without errors shows that a property holds, and only an
// assertion that fails violates it: any other error is one of the model.
func judge(output string, err error) (found verdict, reason string) {
	assertions := strings.Contains(output, "assertion violated")
	switch {
	case assertions && strings.Contains(output, "errors: 1\n"):
		return violated, ""
	case err != nil:
		return failed, err.Error() + ": " + lastLine(output)
	case cutShort.MatchString(output):
		return failed, cutShort.FindString(output)
	case strings.Contains(output, "errors: 0\n"):
		return holds, ""
	}
	return failed, lastLine(output)
}

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return lines[len(lines)-1]
}

var stored = regexp.MustCompile(`(?m)^ *([0-9.e+]+) states, stored`)

// states returns how many states a search has stored.
func states(output string) string {
	match := stored.FindStringSubmatch(output)
	if match == nil {
		return "?"
	}
	n, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		return "?"
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

// versions returns which programs are used.
func versions(ctx context.Context) (string, error) {
	spin, err := command(ctx, ".", "spin", "-V")
	if err != nil {
		return "", fmt.Errorf("the Debian package spin is needed: %w", err)
	}
	gcc, err := command(ctx, ".", "gcc", "--version")
	if err != nil {
		return "", err
	}
	gcc, _, _ = strings.Cut(gcc, "\n")
	return strings.TrimSpace(spin) + ", " + gcc, nil
}
