package redisstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/mutate"
)

// mutant is a deliberate mistake in a rule, in a file of Go or a script.
type mutant struct {
	name, file, old, new string // as in mutate.Mutant, but for the folder
	test                 string // the pattern of the tests that find it
}

const folder = "internal/redisstore"

var mutants = slices.Concat(settleMutants, ownerMutants, shardMutants)

// TestMutants runs tests with each mutant. If none fails, a rule is not tested.
func TestMutants(t *testing.T) {
	t.Parallel()
	if os.Getenv("SIM_MUTANTS") == "" {
		t.Skip("set SIM_MUTANTS=1: it takes a minute")
	}
	binary := overlay(t).Build(t, "./"+folder)
	everything := mutant{test: "(" + strings.Join(testsOf(mutants), "|") + ")"}
	output, err := everything.run(t, binary, mutate.None)
	require.NoError(t, err, "without a mutant:\n%s", output)
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			output, _ := m.run(t, binary, i)
			found := failedTest.FindSubmatch(output)
			require.NotNil(t, found, "no test fails, or the mutant does not run:\n%s", output)
			t.Logf("found by %s", found[1])
		})
	}
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

func testsOf(mutants []mutant) (all []string) {
	for _, m := range mutants {
		all = append(all, m.test)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// run runs the tests that find a mutant, with mutant i.
func (m mutant) run(t *testing.T, binary string, i int) ([]byte, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, "-test.failfast", "-test.timeout=2m", "-test.run=^"+m.test)
	command.Env = mutate.Choose(i)
	output, err := command.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return output, err
}

// TestMutantsApply checks, also when TestMutants is skipped, that the table still fits the code.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	overlay(t)
}

// overlay is the code with all mutants.
func overlay(t *testing.T) mutate.Overlay {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	all := make([]mutate.Mutant, len(mutants))
	for i, m := range mutants {
		if path.Ext(m.file) == ".lua" {
			m = inGo(t, m)
		}
		all[i] = mutate.Mutant{File: path.Join(folder, m.file), Old: m.old, New: m.new}
	}
	return mutate.New(t, root, all)
}

// inGo returns a mutant of newScript that changes a script.
func inGo(t *testing.T, m mutant) mutant {
	t.Helper()
	source, err := os.ReadFile(m.file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(source), m.old), "must occur exactly once in %s: %s", m.file, m.old)
	const begin = "func newScript(source string) script {"
	changed := strings.Replace(string(source), m.old, m.new, 1)
	return mutant{
		file: "scripts.go", old: begin,
		new: fmt.Sprintf("%s\n\tsource = strings.Replace(source, %q, %q, 1)", begin, source, changed),
	}
}
