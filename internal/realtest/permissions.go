package realtest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// operations is seen from a test package one directory below this one.
const operations = "../../../docs/operations.md"

// Permissions is a rule set as it follows "ACL SETUSER <name> reset", or "user <name>" in redis.conf.
type Permissions struct {
	User  string
	Rules []string
}

// DocumentedPermissions returns the rule sets for one server, for the nodes of a Cluster, and for sentinels. It reads
// them from docs/operations.md, word by word, so that the tests try what the documentation says.
func DocumentedPermissions(t testing.TB) (server, clusterNode, sentinel Permissions) {
	t.Helper()
	text, err := os.ReadFile(operations)
	require.NoError(t, err)
	commands := regexp.MustCompile(`(?m)^redis-cli ACL SETUSER (\S+) reset ((?:.*\\\n)*.*)`)
	matches := commands.FindAllStringSubmatch(string(text), -1)
	require.Len(t, matches, 3)
	var all [3]Permissions
	unquoted := strings.NewReplacer("'", "", "\\\n", "") // as the shell does
	for i, match := range matches {
		all[i] = Permissions{User: match[1], Rules: strings.Fields(unquoted.Replace(match[2]))}
	}
	if !redistest.Since(t, "7.0.0") { // which does not know these commands
		all[1] = all[1].Without("+spublish").Without("+ssubscribe")
	}
	return all[0], all[1], all[2]
}

// Password returns the password that the rules set.
func (p Permissions) Password(t testing.TB) string {
	t.Helper()
	i := slices.IndexFunc(p.Rules, func(rule string) bool { return rule[0] == '>' })
	require.NotEqual(t, -1, i)
	return p.Rules[i][1:]
}

// Config returns the line for redis.conf.
func (p Permissions) Config() string { return "user " + p.User + " " + strings.Join(p.Rules, " ") }

// Without returns the permissions without one rule.
func (p Permissions) Without(rule string) Permissions {
	rules := slices.DeleteFunc(slices.Clone(p.Rules), func(r string) bool { return r == rule })
	return Permissions{p.User, rules}
}

// Grant replaces the permissions of the user on a running server, and clears the server's log of denied commands.
func (p Permissions) Grant(t testing.TB, server *redistest.Server) {
	t.Helper()
	command := []any{"ACL", "SETUSER", p.User, "reset"}
	for _, rule := range p.Rules {
		command = append(command, rule)
	}
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), command...).Err())
	require.NoError(t, admin.Do(t.Context(), "ACL", "LOG", "RESET").Err())
}
