package main

import (
	"fmt"
	"os"
	"strings"
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

What each check of [checks.txt](checks.txt) has found when it ran last; [README.md](README.md) says what they are for.
"holds" means: no violation within these bounds. Written by:

` + "```sh\ngo tool -modfile=tools/go.mod task model -- -write\n```" + `

The time includes that for making the search, on two cores that were busy with other work, too.

`

// writeReport puts a result in place of that of the former run into a file.
func writeReport(path, programs string, all []check, r result) error {
	former, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, []byte(report(string(former), programs, all, r)), 0o644)
}

func report(former, programs string, all []check, r result) string {
	rows := make(map[string]string)
	for line := range strings.Lines(former) {
		if cells := strings.Split(line, " | "); len(cells) > 2 {
			rows[cells[1]] = line
		}
	}
	rows[r.check.name] = r.row()
	var b strings.Builder
	b.WriteString(header + programs + ".\n\n")
	b.WriteString("| promise | check | kind | found | states | time | model and settings |\n")
	b.WriteString("| --- | --- | --- | --- | ---: | ---: | --- |\n")
	for _, c := range all {
		b.WriteString(rows[c.name])
	}
	return b.String()
}

func (r result) row() string {
	found := string(r.found)
	if !r.expected() {
		found = "**" + found + "** " + r.reason
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %.1f s | %s %s |\n", r.check.property, r.check.name, r.check.kind,
		found, r.states, r.took.Seconds(), r.check.model, r.check.settings)
}
