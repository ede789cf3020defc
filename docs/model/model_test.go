package main

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	const (
		complete = "State-vector 224 byte, depth reached 87, errors: 0\n   165387 states, stored\n"
		broken   = "pan:1: assertion violated (entry[1].version>=need) (at depth 60)\npan: wrote fence.pml.trail\n" +
			"Warning: Search not completed\nState-vector 224 byte, depth reached 60, errors: 1\n    1427 states, stored\n"
	)
	for name, test := range map[string]struct {
		output string
		err    error
		found  verdict
		reason string
	}{
		"complete":         {complete, nil, holds, ""},
		"violated":         {broken, nil, violated, ""},
		"too deep":         {"error: max search depth too small\n" + complete, nil, failed, "max search depth too small"},
		"memory":           {"pan: reached -DMEMLIM bound\n" + complete, nil, failed, "reached -DMEMLIM bound"},
		"no memory":        {"pan: out of memory\n" + complete, nil, failed, "out of memory"},
		"interrupted":      {"Warning: Search not completed\n" + complete, nil, failed, "Search not completed"},
		"ended by a limit": {"Depth= 60 States= 1e+06\n", errors.New("killed"), failed, "killed: Depth= 60 States= 1e+06"},
		"exit status":      {complete, errors.New("exit status 1"), failed, "exit status 1:    165387 states, stored"},
		"a wrong model":    {"pan:1: block in d_step seq (at depth 9)\nerrors: 1\n", nil, failed, "errors: 1"},
		"no verdict":       {"pan: something else\n", nil, failed, "pan: something else"},
		"nothing":          {"", nil, failed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			found, reason := judge(test.output, test.err)
			require.Equal(t, test.found, found)
			require.Equal(t, strings.TrimSpace(test.reason), strings.TrimSpace(reason))
		})
	}
}

func TestStates(t *testing.T) {
	require.Equal(t, "165387", states("   165387 states, stored\n"))
	require.Equal(t, "65364420", states(" 65364420 states, stored (1.2e+09 visited)\n"))
	require.Equal(t, "16800000", states("1.68e+07 states, stored\n"))
	require.Equal(t, "?", states(""))
}

func TestExpectations(t *testing.T) {
	for kind, expected := range map[kind]verdict{promise: holds, mutation: violated, limit: violated, reached: violated} {
		for _, found := range []verdict{holds, violated, failed} {
			r := result{check: check{kind: kind}, found: found}
			if found == expected {
				require.True(t, r.expected(), "%s %s", kind, found)
			} else {
				require.False(t, r.expected(), "%s %s", kind, found)
			}
		}
	}
}

func TestTableIsRead(t *testing.T) {
	checks, err := parse(`
# a note
quick promise  a P2 fence.pml  BEATS=2 E_EARLY
long  limit    b P9 writes.pml PROPERTY=ONCE
`)
	require.NoError(t, err)
	require.Equal(t, []check{
		{true, promise, "a", "P2", "fence.pml", "BEATS=2 E_EARLY"},
		{false, limit, "b", "P9", "writes.pml", "PROPERTY=ONCE"},
	}, checks)
	require.Equal(t, []string{"-DBEATS=2", "-DE_EARLY", "-DPROPERTY=2"}, checks[0].defines())
	require.Equal(t, []string{"-DPROPERTY=ONCE"}, checks[1].defines())
	require.Equal(t, checks[:1], choose(checks, true, regexp.MustCompile("")))
	require.Equal(t, checks[1:], choose(checks, false, regexp.MustCompile("^b$")))

	for _, wrong := range []string{"quick promise a P2 fence.pml", "quick promises a P2 fence.pml BEATS=2"} {
		_, err = parse(wrong)
		require.Error(t, err, wrong)
	}
}

func TestReport(t *testing.T) {
	a := check{kind: promise, name: "a", property: "P2", model: "fence.pml", settings: "BEATS=2"}
	b := check{kind: mutation, name: "b", property: "P10", model: "fence.pml", settings: "M_YOUNG"}
	gone := check{kind: mutation, name: "gone"}
	text := report("", "Spin 6", []check{gone}, result{check: gone, found: violated})
	text = report(text, "Spin 6", []check{a, gone}, result{check: a, found: holds, states: "7", took: time.Second})
	text = report(text, "Spin 7", []check{a, b}, result{check: b, found: failed, reason: "out of memory", states: "?"})
	require.Equal(t, header+`Spin 7.

| promise | check | kind | found | states | time | model and settings |
| --- | --- | --- | --- | ---: | ---: | --- |
| P2 | a | promise | holds | 7 | 1.0 s | fence.pml BEATS=2 |
| P10 | b | mutation | **failed** out of memory | ? | 0.0 s | fence.pml M_YOUNG |
`, text)
}

var (
	condition = regexp.MustCompile(`(?m)^#(?:if|ifdef|ifndef|elif)\b.*`)
	word      = regexp.MustCompile(`\b[A-Z][A-Z0-9_]+\b`)
	broken    = regexp.MustCompile(`\bM_[A-Z_0-9]+\b`)
)

// A setting that its model does not know would change nothing, and a promise would seem to hold with it.
func TestSettingsAreKnown(t *testing.T) {
	checks, err := parse(table)
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, c := range checks {
		require.False(t, names[c.name], c.name)
		names[c.name] = true
		source, err := models.ReadFile(c.model)
		require.NoError(t, err, c.name)
		known := word.FindAllString(strings.Join(condition.FindAllString(string(source), -1), " "), -1)
		for setting := range strings.FieldsSeq(c.settings) {
			setting, _, _ = strings.Cut(setting, "=")
			require.Contains(t, known, setting, c.name)
		}
		require.Equal(t, c.kind == mutation, broken.MatchString(c.settings), c.name)
	}
}

// Each rule that a model can break is broken by a check, and README.md says which rule that is.
func TestEachMutationIsChecked(t *testing.T) {
	var inModels []string
	for _, model := range []string{"fence.pml", "cluster.pml", "writes.pml"} {
		source, err := models.ReadFile(model)
		require.NoError(t, err)
		inModels = append(inModels, broken.FindAllString(string(source), -1)...)
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.NotEmpty(t, inModels)
	known := set(inModels)
	require.Equal(t, known, set(broken.FindAllString(table, -1)))
	require.Equal(t, known, set(broken.FindAllString(string(readme), -1)))
}

func set(words []string) []string { return slices.Compact(slices.Sorted(slices.Values(words))) }

func TestStepsAreReadable(t *testing.T) {
	replay := `starting claim 3
  1:	proc  0 (:init::1) fence.pml:620 (state 1)	[(run Clock())]
  2:	proc  9 (Client:1) fence.pml:471 (state 2)	[writes = (writes+1)]
  3:	proc  9 (Client:1) fence.pml:471 (state 3)	[else]
  4:	proc  3 (Heart:1) fence.pml:331 (state 12)	[number = (number+1)]
		queue 2 (link[1]): [Changed,2]
spin: fence.pml:436, Error: assertion violated
spin: text of failed assertion: assert((entry[1].version>=need))
`
	require.Equal(t, `  Client 9    fence.pml:471   writes = (writes+1)
  Heart 3     fence.pml:331   number = (number+1)
  spin: fence.pml:436, Error: assertion violated
  spin: text of failed assertion: assert((entry[1].version>=need))
`, readable(replay))
}
