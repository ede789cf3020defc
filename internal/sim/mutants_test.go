package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mutant is a deliberate mistake in the protocol: one text in one file is replaced by another, in a copy that only the
// compiler sees. If no simulation finds a mutant, the checker is blind there.
type mutant struct {
	name     string
	file     string // from the module's root
	old, new string // old occurs exactly once, so that the table cannot go stale
	within   int    // number of seeds that suffice to find it
	by       string // the package whose tests find it, where the simulation needs too long; "" for the simulation
}

var mutantsAsked = os.Getenv("SIM_MUTANTS") != ""

// TestMutants compiles and simulates each mutant.
func TestMutants(t *testing.T) {
	if !mutantsAsked {
		t.Skip("set SIM_MUTANTS=1: it takes minutes")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	var mu sync.Mutex
	found := make(map[string]string, len(mutants))
	t.Run("all", func(t *testing.T) {
		turns := make(chan struct{}, runtime.GOMAXPROCS(0))
		for _, m := range mutants {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				turns <- struct{}{}
				defer func() { <-turns }()
				by := m.simulate(t, root)
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
	failedTest    = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	hangText      = regexp.MustCompile(`seed (\d+): (an operation does not end)`)
)

// simulate returns the promise that a mutant breaks, and the seed that shows it.
func (m *mutant) simulate(t *testing.T, root string) string {
	args := []string{
		"test", "-vet=off", "-overlay", m.overlay(t, root), "./internal/sim",
		"-run", "^TestSimulate$", fmt.Sprint("-sim.seeds=", m.within), "-timeout", "5m",
	}
	if m.by != "" {
		args = []string{"test", "-vet=off", "-overlay", m.overlay(t, root), m.by, "-timeout", "1m"}
	}
	start := time.Now()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = root
	output, err := command.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	for _, text := range []*regexp.Regexp{violationText, hangText} {
		if match := text.FindSubmatch(output); match != nil {
			return fmt.Sprintf("%s, seed %s of %d, %v", match[2], match[1], m.within, time.Since(start).Round(time.Second))
		}
	}
	if match := failedTest.FindSubmatch(output); m.by != "" && match != nil {
		return fmt.Sprintf("%s, in %s", match[1], m.by)
	}
	if err == nil {
		t.Errorf("%d seeds do not find it", m.within)
		return "not found"
	}
	t.Errorf("the mutant does not run:\n%s", output)
	return "does not run"
}

// overlay writes the file that `go test -overlay` needs, and returns its name.
func (m *mutant) overlay(t *testing.T, root string) string {
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(source, []byte(m.old)), "this must occur exactly once in %s: %s", m.file, m.old)

	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	source = bytes.Replace(source, []byte(m.old), []byte(m.new), 1)
	require.NoError(t, os.WriteFile(changed, source, 0o600))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	require.NoError(t, err)
	name := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(name, overlay, 0o600))
	return name
}

// TestMutantsApply checks, also when TestMutants is skipped, that the table still fits the code.
func TestMutantsApply(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.overlay(t, root) })
	}
}
