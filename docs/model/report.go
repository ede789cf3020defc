package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// String is what is printed for a check: one line, and the steps to a violation that is not expected, or wanted.
func (r result) String() string {
	verdict := string(r.found)
	if !r.expected() {
		verdict = strings.ToUpper(verdict)
	}
	line := fmt.Sprintf("%-4s %-8s %-27s must be %-8s %-8s %10s states %6.1f s  %s %s", r.check.property, r.check.kind,
		r.check.name, r.check.expected(), verdict, r.states, r.took.Seconds(), r.check.model, r.check.settings)
	if r.reason != "" {
		line += "\n  " + r.reason
	}
	return line + "\n" + r.steps
}

const header = `# Results of the models

All checks of [checks.txt](checks.txt), as the last complete run printed them. Written by:

` + "```sh\ngo tool -modfile=tools/go.mod task model -- -write\n```" + `

[README.md](README.md) says what the columns mean. "holds" means: no violation within these bounds. The time includes
that for making the search; two run at a time.

`

func report(versions string, results []result, took time.Duration) string {
	var b strings.Builder
	b.WriteString(header)
	fmt.Fprintf(&b, "%s, %d cores. %d checks, %d failed, %v.\n\n", versions, runtime.NumCPU(), len(results),
		failures(results), took.Round(time.Second))
	b.WriteString("| promise | check | kind | model | settings | found | states | time |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | ---: | ---: |\n")
	for _, r := range results {
		found := string(r.found)
		if !r.expected() {
			found = "**" + found + "** " + r.reason
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %.1f s |\n", r.check.property, r.check.name, r.check.kind,
			r.check.model, r.check.settings, found, r.states, r.took.Seconds())
	}
	return b.String()
}

// failures counts the checks that have not found what is expected.
func failures(results []result) (n int) {
	for _, r := range results {
		if !r.expected() {
			n++
		}
	}
	return n
}
