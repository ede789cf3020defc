package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// check is one search of a model within bounds.
type check struct {
	quick    bool // it takes seconds, and runs in CI
	kind     kind
	name     string
	property string // the promise, as in docs/guarantees.md
	model    string
	settings string // bounds, what the environment may do, and the rule that is broken, as the model names them
}

// kind is what a check is for.
type kind string

const (
	promise  kind = "promise"  // the property holds
	mutation kind = "mutation" // a rule is broken: a model that does not notice is too weak
	limit    kind = "limit"    // what is not promised: if it held, the documentation would be wrong
	reached  kind = "reached"  // a fence returns early: if none did, its promises would hold for nothing
)

// verdict is what a search has found.
type verdict string

const (
	holds    verdict = "holds"
	violated verdict = "violated"
	failed   verdict = "failed" // the search was cut short, or could not be made
)

func (c check) expected() verdict {
	if c.kind == promise {
		return holds
	}
	return violated
}

// defines returns the settings as arguments for Spin.
func (c check) defines() (args []string) {
	for setting := range strings.FieldsSeq(c.settings) {
		args = append(args, "-D"+setting)
	}
	if !strings.Contains(c.settings, "PROPERTY=") {
		args = append(args, "-DPROPERTY="+strings.TrimPrefix(c.property, "P"))
	}
	return args
}

//go:embed checks.txt
var table string

// parse reads a table of checks.
func parse(table string) (checks []check, err error) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) < 6 {
			return nil, fmt.Errorf("not a check: %s", line)
		}
		c := check{
			quick: fields[0] == "quick", kind: kind(fields[1]), name: fields[2], property: fields[3], model: fields[4],
			settings: strings.Join(fields[5:], " "),
		}
		switch c.kind {
		case promise, mutation, limit, reached:
		default:
			return nil, fmt.Errorf("not a kind of check: %s", line)
		}
		checks = append(checks, c)
	}
	return checks, nil
}

// choose returns the checks to run: all, or the quick ones, whose name matches.
func choose(from []check, quick bool, name *regexp.Regexp) (chosen []check) {
	for _, c := range from {
		if (c.quick || !quick) && name.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}
