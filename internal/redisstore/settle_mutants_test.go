package redisstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutant is a deliberate mistake in a rule: one text in one file is replaced by another, in a copy that only the
// compiler sees.
type mutant struct {
	name, file, old, new string
	test                 string // what finds it, if TestSettleRules and its neighbours do not
}

var mutants = []mutant{
	{
		"nothing is repeated", "settle.go",
		"if before == notLost || ctx.Err() != nil {",
		"if true {",
		"",
	},
	{
		"a repetition outlives the caller's context", "settle.go",
		"if before == notLost || ctx.Err() != nil {",
		"if ctx = context.WithoutCancel(ctx); before == notLost {",
		"",
	},
	{
		"a refusal counts as a lost reply", "settle.go",
		"case answered(err), errors.Is(err, ErrTooFewReplicas),",
		"case hasCode(err, \"LOADING\"):\n\t\treturn closed\n\tcase answered(err), errors.Is(err, ErrTooFewReplicas),",
		"",
	},
	{
		"too few replicas count as a lost reply", "settle.go",
		"case answered(err), errors.Is(err, ErrTooFewReplicas), network",
		"case errors.Is(err, ErrTooFewReplicas):\n\t\treturn closed\n\tcase answered(err), network",
		"",
	},
	{
		"a time-out counts as a closed connection", "settle.go",
		"return overdue\n\t}\n\treturn notLost",
		"return closed\n\t}\n\treturn notLost",
		"",
	},
	{
		"a closed connection counts as a time-out", "settle.go",
		"syscall.EPIPE):\n\t\treturn closed",
		"syscall.EPIPE):\n\t\treturn overdue",
		"",
	},
	{
		"a connection that this side closed counts as closed by the server", "settle.go",
		"isAny(err, io.EOF,",
		"isAny(err, net.ErrClosed, io.EOF,",
		"",
	},
	{
		"the repetition goes over an idle connection", "settle.go",
		"if answered(err) {\n\t\t\treturn conn, nil",
		"if true {\n\t\t\treturn server.Conn(), conn.Close()",
		"TestClosedIdleConnectionsFailNoCall",
	},
	{
		"only one idle connection is tried", "settle.go",
		"if lossOf(err) != closed || idle <= 0 {",
		"if true {",
		"TestClosedIdleConnectionsFailNoCall",
	},
	{
		"a redirected repetition is not followed", "settle.go",
		`if hasCode(err, "MOVED", "ASK") {`,
		`if hasCode(err, "none") {`,
		"TestSettlingOnACluster",
	},
	{
		"after a time-out, a write without a revision is repeated", "put.go",
		"if before == overdue && !c.NamesRevision() {",
		"if false {",
		"",
	},
	{
		"... the creation of a value is", "put.go",
		"if before == overdue && !c.NamesRevision() {",
		"if before == overdue && c == Always {",
		"",
	},
	{
		"a write without a revision is never repeated", "put.go",
		"if before == overdue && !c.NamesRevision() {",
		"if before != notLost && !c.NamesRevision() {",
		"",
	},
	{
		"after a time-out, a write with a revision only asks", "put.go",
		"if before == overdue && !c.NamesRevision() {",
		"if before == overdue {",
		"",
	},
	{
		"a conflict of a repetition is believed", "put.go",
		"if before != notLost {\n\t\treturn 0, \"\", errUnsettled",
		"if before != notLost && err != ErrConflict {\n\t\treturn 0, \"\", errUnsettled",
		"",
	},
	{
		"that a value exists is believed of a repetition", "put.go",
		"if before != notLost {\n\t\treturn 0, \"\", errUnsettled",
		"if before != notLost && err != ErrExists {\n\t\treturn 0, \"\", errUnsettled",
		"",
	},
	{
		"a replaced base says nothing", "put.go",
		"case \"replaced\":\n\t\treturn 0, \"\", ErrConflict",
		"case \"replaced\":\n\t\terr = ErrConflict",
		"",
	},
	{
		"what a script does not know is missing", "put.go",
		"return 0, \"\", errUnsettled\n\tcase \"unlisted\"",
		"return 0, \"\", ErrMissing\n\tcase \"unlisted\"",
		"",
	},
	{
		"a repetition has another token", "put.go",
		"return send(on, mode)",
		"p.token = newToken()\n\t\treturn send(on, mode)",
		"",
	},
	{
		"a take is repeated", "store.go",
		"reply, err := s.write(ctx, nil, takeScript, s.key(id), events, s.names.Event(id))",
		"reply, _, err := s.settle(ctx, s.key(id), func(on *redis.Conn, _ loss) (any, error) " +
			"{ return s.write(ctx, on, takeScript, s.key(id), events, s.names.Event(id)) })",
		"",
	},
	{
		"a repetition does not wait for replicas", "replicas.go",
		"case s.minReplicas == 0:",
		"case s.minReplicas == 0 || on != nil:",
		"TestSettlingWaitsForReplicas",
	},
	{
		"the token is not looked for", "scripts/put.lua",
		"if digits and string.sub(header, 34, 49) ==",
		"if false and string.sub(header, 34, 49) ==",
		"",
	},
	{
		"the token is looked for after the conditions of a creation", "scripts/put.lua",
		"string.sub(ARGV[6], 1, 16) then",
		"string.sub(ARGV[6], 1, 16) and ARGV[5] ~= 'absent' then",
		"",
	},
	{
		"the replaced revision is not stored", "scripts/put.lua",
		"'2' .. new .. replaced ..",
		"'2' .. new .. none ..",
		"",
	},
	{
		"every conflict counts as a replaced base", "scripts/put.lua",
		"and 'replaced' or 'conflict'",
		"and 'replaced' or 'replaced'",
		"",
	},
	{
		"who asks writes", "scripts/put.lua",
		"elseif ARGV[7] == 'ask' then",
		"elseif false then",
		"",
	},
	{
		"a found token leaves the TTL as it is", "scripts/put.lua",
		"redis.call('PEXPIRE', KEYS[1], (lifetime(header, ARGV[2])))",
		"",
		"",
	},
	{
		"a found token starts the TTL anew past the end", "scripts/put.lua",
		"redis.call('PEXPIRE', KEYS[1], (lifetime(header, ARGV[2])))",
		"redis.call('PEXPIRE', KEYS[1], ARGV[2])",
		"",
	},
	{
		"a value's own idle time is ignored", "scripts/header.lua",
		"if left == 0 then",
		"if true then",
		"TestOwnLifetimes",
	},
	{
		"the time since a use is ignored", "scripts/header.lua",
		"left = left - (since or 0)",
		"",
		"TestOwnLifetimes",
	},
	{
		"an idle time goes past the end", "scripts/header.lua",
		"if over ~= 0 then",
		"if over ~= 0 and left == tonumber(ttl) then",
		"TestOwnLifetimes",
	},
	{
		"the longest lifetime is as long as the header can say", "scripts/header.lua",
		"math.min(left, longest)",
		"left",
		"TestLongestLifetimes",
	},
	{
		"the quick path of a load takes any value", "scripts/load_plain.lua",
		"and string.sub(stored, 50, 121) == '000000000000000000000000000000000000000000000000000000000000000000000000'",
		"",
		"TestOwnLifetimes",
	},
	{
		"... takes any header", "scripts/load_plain.lua",
		"and string.find(string.sub(stored, 1, 49), '^2000[1-9a-f][0-9a-f]+$') then",
		"then",
		"TestScriptsJudgeHeadersAsGoDoes",
	},
	{
		"a value that would never end is stored", "put.go",
		"if w.Lifetime.endless() {",
		"if false {",
		"TestEndlessValuesAreRefused",
	},
}

// TestMutants runs the tests of lost replies with each mutant. If none fails, a rule is not tested.
func TestMutants(t *testing.T) {
	t.Parallel()
	if os.Getenv("SIM_MUTANTS") == "" {
		t.Skip("set SIM_MUTANTS=1: it takes minutes")
	}
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, m := range slices.Concat(mutants, ownerMutants) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			t.Logf("found by %s", m.findBy(t))
		})
	}
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// findBy returns the test that fails.
func (m mutant) findBy(t *testing.T) string {
	t.Helper()
	tests := m.test
	if tests == "" {
		tests = "TestSettle[A-Z]"
	}
	output, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-failfast", "-overlay", m.overlay(t),
		"-run", "^"+tests, "-timeout", "2m", ".").CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	found := failedTest.FindSubmatch(output)
	require.NotNil(t, found, "no test fails, or the mutant does not run:\n%s", output)
	return string(found[1])
}

// TestMutantsApply checks, also when TestMutants is skipped, that the table still fits the code.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	for _, m := range slices.Concat(mutants, ownerMutants) {
		m.overlay(t)
	}
}

// overlay writes the file that `go test -overlay` needs, and returns its name.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	original, err := filepath.Abs(m.file)
	require.NoError(t, err)
	source, err := os.ReadFile(original)
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(source, []byte(m.old)), "this must occur exactly once in %s: %s", m.file, m.old)

	dir := t.TempDir()
	changed, name := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	source = bytes.Replace(source, []byte(m.old), []byte(m.new), 1)
	require.NoError(t, os.WriteFile(changed, source, 0o600))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, overlay, 0o600))
	return name
}
