package doctest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// block is a block of Go code in a page.
type block struct {
	page string // relative to the root
	line int    // of its first line
	code string
}

var fenced = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

func blocks(t *testing.T, page string) []block {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	name, err := filepath.Rel(root, page)
	require.NoError(t, err)
	var found []block
	for _, match := range fenced.FindAllSubmatchIndex(text, -1) {
		line := 1 + strings.Count(string(text[:match[2]]), "\n")
		found = append(found, block{name, line, string(text[match[2]:match[3]])})
	}
	return found
}

// module is a module whose dependencies a block may need. names are the packages that it may use without an import.
type module struct {
	dir   string
	names map[string]string
}

const library = "github.com/seed34611480/session"

// modules are tried in this order: the first one of which a block uses a package has it. The last one has all others,
// and its names are known in the others, too.
var modules = []module{
	{"integrations/mcpgo", map[string]string{
		"mcpgo":  library + "/integrations/mcpgo",
		"server": "github.com/mark3labs/mcp-go/server",
	}},
	{"integrations/gosdk", map[string]string{
		"auth":  "github.com/modelcontextprotocol/go-sdk/auth",
		"gosdk": library + "/integrations/gosdk",
		"mcp":   "github.com/modelcontextprotocol/go-sdk/mcp",
	}},
	{"integrations/prometheus", map[string]string{
		"promhttp":          "github.com/prometheus/client_golang/prometheus/promhttp",
		"sessionprometheus": library + "/integrations/prometheus",
	}},
	{"integrations/scs", map[string]string{
		"scs":      "github.com/alexedwards/scs/v2",
		"scsstore": library + "/integrations/scs",
	}},
	{".", map[string]string{
		"context":      "context",
		"errors":       "errors",
		"expvar":       "expvar",
		"fmt":          "fmt",
		"handle":       library + "/handle",
		"http":         "net/http",
		"httptest":     "net/http/httptest",
		"json":         "encoding/json",
		"live":         library + "/live",
		"log":          "log",
		"mcphttp":      library + "/mcphttp",
		"miniredis":    "github.com/alicebob/miniredis/v2",
		"mock":         "github.com/stretchr/testify/mock",
		"mocks":        library + "/mocks",
		"os":           "os",
		"redis":        "github.com/redis/go-redis/v9",
		"require":      "github.com/stretchr/testify/require",
		"requeststate": library + "/requeststate",
		"session":      library,
		"sessiontest":  library + "/sessiontest",
		"sha256":       "crypto/sha256",
		"slog":         "log/slog",
		"strings":      "strings",
		"synctest":     "testing/synctest",
		"testing":      "testing",
		"time":         "time",
		"url":          "net/url",
	}},
}

// source is a block as a Go file: it was a whole file, declarations or statements.
type source struct {
	module, name, file, text string
	test                     bool
}

func newSource(t *testing.T, name string, b block) source {
	s := source{name: name, file: "main.go", test: strings.Contains("\n"+b.code, "\nfunc Test")}
	head, tail := "package main\n", "\nfunc main() {}\n"
	if s.test {
		head, tail, s.file = "package docs\n", "", "main_test.go"
	}
	if strings.Contains(b.code, "\nfunc main() {") {
		tail = ""
	}
	if strings.HasPrefix(b.code, "package ") {
		head, tail = "", ""
	} else if _, err := parse(head + b.code + tail); err != nil {
		head, tail = head+"func main() {\n", "\n}\n"
	}
	parsed, err := parse(head + b.code + tail)
	require.NoErrorf(t, err, "%s:%d", b.page, b.line)
	used := make(map[string]bool) // names of packages that are not imported
	for _, name := range parsed.Unresolved {
		used[name.Name] = true
	}
	imported := make(map[string]bool) // paths
	for _, i := range parsed.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		imported[path] = true
	}
	of := modules[slices.IndexFunc(modules, func(m module) bool {
		for name, path := range m.names {
			if used[name] || imported[path] {
				return true
			}
		}
		return m.dir == "."
	})]
	s.module = of.dir
	if head != "" {
		head = strings.Replace(head, "\n", "\n"+of.imports(used), 1)
	}
	s.text = fmt.Sprintf("%s//line %s:%d\n%s%s", head, b.page, b.line, b.code, tail)
	return s
}

func parse(text string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "", text, 0)
}

func (m module) imports(used map[string]bool) string {
	var lines []string
	for name := range used {
		path, ok := m.names[name]
		if !ok {
			path, ok = modules[len(modules)-1].names[name]
		}
		if ok {
			lines = append(lines, fmt.Sprintf("import %s %q\n", name, path))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// tool runs a go command in a program that requires what a module requires, and the module itself. Each source is in
// the folder of its name.
func tool(t *testing.T, of string, sources []source, args ...string) {
	dir := t.TempDir()
	from, err := filepath.Abs(filepath.Join(root, of))
	require.NoError(t, err)
	mod, err := os.ReadFile(filepath.Join(from, "go.mod"))
	require.NoError(t, err)
	first, rest, _ := strings.Cut(string(mod), "\n")
	path := strings.TrimPrefix(first, "module ")
	rest = strings.ReplaceAll(rest, "=> ../..", "=> "+filepath.Join(from, "../.."))
	put(t, filepath.Join(dir, "go.mod"),
		fmt.Sprintf("module docs\n%s\nrequire %s v0.0.0\nreplace %s => %s\n", rest, path, path, from))
	sum, err := os.ReadFile(filepath.Join(from, "go.sum"))
	require.NoError(t, err)
	put(t, filepath.Join(dir, "go.sum"), string(sum))
	for _, s := range sources {
		put(t, filepath.Join(dir, s.name, s.file), s.text)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -mod=mod", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

func put(t *testing.T, file, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}
