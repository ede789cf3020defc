package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// module is the path of the root module; nested ones are folders below it.
const module = "github.com/seed34611480/session"

// modules are the folders of the modules with tests that start servers.
var modules = []string{".", "examples/topologies", "internal/lincheck"}

// testPackage is a package whose tests start servers.
type testPackage struct{ folder, path string } // the folder of its module, and its import path

func (p testPackage) String() string {
	if short := strings.TrimPrefix(p.path, module+"/"); short != module {
		return short
	}
	return "session"
}

// packagesWithServers returns the packages whose tests import redistest, and redistest itself.
func packagesWithServers(ctx context.Context) ([]testPackage, error) {
	const redistest = module + "/internal/redistest"
	var found []testPackage
	for _, folder := range modules {
		command := exec.CommandContext(ctx, "go", "list", "-C", folder, "-f",
			`{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./...")
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", folder, err)
		}
		before := len(found)
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); slices.Contains(words, redistest) {
				found = append(found, testPackage{folder, words[0]})
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("no package in %s uses redistest", folder)
		}
	}
	return found, nil
}

// test runs the tests of all packages with one server, package after package: they measure times. A failed test is a
// result, not an error.
func test(ctx context.Context, s server, packages []testPackage) (results, error) {
	all := results{}
	for _, folder := range modules {
		args := []string{"test", "-C", folder, "-json", "-count=1", "-p=1", "-timeout=20m"}
		for _, p := range packages {
			if p.folder == folder {
				args = append(args, p.path)
			}
		}
		command := exec.CommandContext(ctx, "go", args...)
		// In CI, no test may be skipped because there is no server.
		command.Env = append(os.Environ(), "REDIS_SERVER="+s.program, "CI=true", "FAULT_MATRIX=1")
		command.Stderr = os.Stderr
		out, err := command.Output()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := all.read(bytes.NewReader(out), os.Stderr); err != nil {
			return nil, err
		}
	}
	for _, p := range packages {
		if len(all[p.path]) == 0 {
			return nil, fmt.Errorf("%s ran no test", p)
		}
	}
	return all, nil
}

// outcome is what became of a test.
type outcome struct {
	action string // pass, fail or skip
	reason string // of a skip
}

// results are outcomes by package and test. The name of a package as a whole is empty.
type results map[string]map[string]outcome

// event is a line of go test -json. Decoding ignores case.
type event struct {
	Action  string `json:"action"`
	Package string `json:"package"`
	Test    string `json:"test"`
	Output  string `json:"output"`
}

// ofStorage matches tests that the conformance suite skips when a storage lacks a capability, whatever the server.
var ofStorage = regexp.MustCompile(`^Test\w*Conforms/`)

// read adds the output of go test -json. It writes what failed tests said to log.
func (r results) read(in io.Reader, log io.Writer) error {
	said := make(map[string]string) // the last line of a test that is not about its state
	all := make(map[string]string)  // the output of a test that has not ended
	for decoder := json.NewDecoder(in); ; {
		var event event
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("go test -json: %w", err)
		}
		key := event.Package + " " + event.Test
		switch event.Action {
		case "output":
			all[key] += event.Output
			if text := strings.TrimSpace(event.Output); text != "" && !strings.HasPrefix(text, "--- ") {
				said[key] = text
			}
		case "pass", "fail", "skip":
			if event.Action == "fail" {
				fmt.Fprint(log, all[key])
			}
			delete(all, key)
			if event.Action == "skip" && ofStorage.MatchString(event.Test) {
				continue
			}
			if r[event.Package] == nil {
				r[event.Package] = make(map[string]outcome)
			}
			_, reason, _ := strings.Cut(said[key], ": ") // after file and line
			r[event.Package][event.Test] = outcome{event.Action, reason}
		}
	}
}

// leaves returns the names of the tests of a package without those that only group others. A package that fails without
// a test that fails, because it does not build for example, is itself one.
func (r results) leaves(path string) []string {
	of := r[path]
	groups := make(map[string]bool)
	failed := false
	for name, o := range of {
		failed = failed || name != "" && o.action == "fail"
		for i, c := range name {
			if c == '/' {
				groups[name[:i]] = groups[name[:i]] || of[name].action == of[name[:i]].action
			}
		}
	}
	var leaves []string
	for name, o := range of {
		if name == "" && (o.action != "fail" || failed) || groups[name] {
			continue
		}
		leaves = append(leaves, name)
	}
	slices.Sort(leaves)
	return leaves
}

func (r results) count(path, action string) (n int) {
	for _, name := range r.leaves(path) {
		if r[path][name].action == action {
			n++
		}
	}
	return n
}

func (r results) String() string {
	var passed, skipped, failed int
	for path := range r {
		passed += r.count(path, "pass")
		skipped += r.count(path, "skip")
		failed += r.count(path, "fail")
	}
	return fmt.Sprintf("%d passed, %d skipped, %d failed", passed, skipped, failed)
}
