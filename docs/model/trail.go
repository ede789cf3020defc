package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// replay returns the steps to the violation that a search has found, as a person reads them.
func (r runner) replay(ctx context.Context, c check) (string, error) {
	args := append(c.defines(), "-k", c.model+".trail", "-p", c.model)
	output, err := command(ctx, r.folder+"/"+c.name, "spin", args...)
	if err != nil {
		return "", err
	}
	return readable(output), nil
}

var (
	// A step of a replay, such as
	//  12:	proc  4 (Heart:1) fence.pml:500 (state 9)	[number = (number+1)]
	step = regexp.MustCompile(`^\s*\d+:\s+proc\s+(\d+) \((:?\w+:?):\d+\) ([\w.]+:\d+) \(state -?\d+\)\s+\[(.*)\]$`)

	// Statements that only steer the model, and what is reset when a call has ended or time goes on.
	noise = regexp.MustCompile(`^(\.\(goto\)|goto .*|break|IF|DO|sub-sequence|else|\(?1\)?|\(true\)|\(\(k<=.*` +
		`|k = .*|call\[.* = 0|\(*now<\d+\)*` +
		`|until\[k\] = 0|acknowledgedAt\[k\] = 1|\w+ = 0)$`)

	calls = strings.NewReplacer("call[((i*2)+0)]", "flight", "call[((i*2)+1)]", "write")
)

// readable keeps of a replay who did what, one step to a line, and the state at the end.
func readable(replay string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(replay, "\n") {
		switch match := step.FindStringSubmatch(line); {
		case match != nil && !noise.MatchString(match[4]) && match[2] != ":init:":
			fmt.Fprintf(&b, "  %-11s %-15s %s\n", match[2]+" "+match[1], match[3], calls.Replace(match[4]))
		case strings.HasPrefix(line, "spin: "):
			b.WriteString("  " + strings.TrimSpace(line) + "\n")
		}
	}
	return b.String()
}
