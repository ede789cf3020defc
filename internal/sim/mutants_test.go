package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/mutate"
)

// mutant is a deliberate mistake in the protocol. If no simulation finds it, the checker is blind there.
type mutant struct {
	name     string
	file     string // from the module's root
	old, new string // as in mutate.Mutant
	within   int    // number of seeds that suffice to find it
	by       string // the test that finds it, where the simulation needs too long; "" for the simulation
}

const simulation = "sim.TestSimulate"

// lateSeeds have found mutants that the first seeds do not find. They are tried first; a wrong one costs only time.
var lateSeeds = map[string]uint64{
	"a link joins shard channels before the one for events":        186,
	"a removal does not revoke the flights under way":              45,
	"a revoked flight can be joined, after a removal":              94,
	"the lease counts from the arrival of the proof":               103,
	"an epoch begins with the subscription":                        352,
	"the watcher reports no gap when it connects again":            184,
	"the watcher's heartbeat asks the events link only":            352,
	"the age counts from after the call":                           390,
	"a session that expires on its way is served":                  59,
	"a flight is joined that has outlived its session":             1037,
	"what was revoked meanwhile counts as revalidated":             90,
	"a miss is remembered in spite of a write that failed":         66,
	"a miss is remembered that a failed write overlapped":          79,
	"the lease covers misses of every epoch":                       186,
	"the age of a miss counts from after the call":                 90,
	"a write is promoted in spite of a newer event":                851,
	"a write is promoted in spite of a removal":                    45,
	"a delete has no second revocation":                            66,
	"a fence does not wait for the answers":                        827,
	"more loads at a time than allowed":                            46,
	"uses that could not be told together are not told one by one": 823,
	"a load that must not be stale joins a flight that was sent":   107,
	"a peek is a use":                                43,
	"a sweep goes by when a copy was fetched":        682,
	"a revoke does not revoke the flights under way": 162,
}

var mutantsAsked = os.Getenv("SIM_MUTANTS") != ""

// TestMutants simulates each mutant.
func TestMutants(t *testing.T) {
	if !mutantsAsked {
		t.Skip("set SIM_MUTANTS=1: it takes a minute")
	}
	code := overlay(t)
	tests, binaries := make(map[string][]string), make(map[string]string)
	for _, m := range mutants {
		folder, test := m.where()
		tests[folder] = append(tests[folder], test)
	}
	for folder, names := range tests {
		binaries[folder] = code.Build(t, folder)
		output, err := run(t, folder, binaries[folder], mutate.None, "-test.run=^("+strings.Join(names, "|")+")$")
		require.NoError(t, err, "without a mutant:\n%s", output)
	}
	var mu sync.Mutex
	found := make(map[string]string, len(mutants))
	t.Run("all", func(t *testing.T) {
		turns := make(chan struct{}, runtime.GOMAXPROCS(0))
		for i, m := range mutants {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				turns <- struct{}{}
				defer func() { <-turns }()
				by := m.find(t, binaries, i)
				mu.Lock()
				defer mu.Unlock()
				found[m.name] = by
			})
		}
	})
	var table strings.Builder
	for _, m := range mutants {
		fmt.Fprintf(&table, "%-62s %s\n", m.name, found[m.name])
	}
	t.Logf("%d mutants, each with the promise that it breaks and the first seed that shows it:\n%s", len(mutants), &table)
}

var (
	violationText = regexp.MustCompile(`seed (\d+): \d+ violations, the first is of (P\d+)`)
	hangText      = regexp.MustCompile(`seed (\d+): (an operation does not end)`)
)

// where returns the package and the name of the test that finds a mutant.
func (m *mutant) where() (folder, test string) {
	pkg, test, _ := strings.Cut(cmp.Or(m.by, simulation), ".")
	return "./internal/" + pkg, test
}

// find returns the promise that mutant i breaks, and the seed that shows it.
func (m *mutant) find(t *testing.T, binaries map[string]string, i int) string {
	folder, test := m.where()
	args := []string{"-test.run=^" + test + "$"}
	if m.by == "" {
		args = append(args, fmt.Sprint("-sim.first=", lateSeeds[m.name]), fmt.Sprint("-sim.seeds=", m.within))
	}
	start := time.Now()
	output, err := run(t, folder, binaries[folder], i, args...)
	took := time.Since(start).Round(time.Second / 10)
	for _, text := range []*regexp.Regexp{violationText, hangText} {
		if match := text.FindSubmatch(output); match != nil {
			return fmt.Sprintf("%s, seed %s of %d, %v", match[2], match[1], m.within, took)
		}
	}
	if m.by != "" && bytes.Contains(output, []byte("--- FAIL: "+test)) {
		return fmt.Sprintf("%s, %v", m.by, took)
	}
	if err == nil {
		t.Errorf("not found by %s", cmp.Or(m.by, fmt.Sprint(m.within, " seeds")))
		return "not found"
	}
	t.Errorf("the mutant does not run:\n%s", output)
	return "does not run"
}

// run runs tests of a package with mutant i.
func run(t *testing.T, folder, binary string, i int, args ...string) ([]byte, error) {
	command := exec.CommandContext(t.Context(), binary, append(args, "-test.timeout=5m")...)
	command.Dir = filepath.Join("../..", folder)
	command.Env = mutate.Choose(i)
	output, err := command.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return output, err
}

// overlay is the code with all mutants.
func overlay(t *testing.T) mutate.Overlay {
	all := make([]mutate.Mutant, len(mutants))
	for i, m := range mutants {
		all[i] = mutate.Mutant{File: m.file, Old: m.old, New: m.new}
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return mutate.New(t, root, all)
}

// TestMutantsApply checks, also when TestMutants is skipped, that the table still fits the code.
func TestMutantsApply(t *testing.T) {
	overlay(t)
	for name := range lateSeeds {
		require.True(t, slices.ContainsFunc(mutants, func(m mutant) bool { return m.name == name }), "no mutant: %s", name)
	}
}
