// Package doctest compiles the Go code of README.md and docs, and runs that of README.md.
package doctest

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/realtest"
)

const root = "../.."

func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }

// packages are those that code in the docs may use without an import.
var packages = map[string]string{
	"context": "context",
	"errors":  "errors",
	"fmt":     "fmt",
	"http":    "net/http",
	"json":    "encoding/json",
	"live":    "github.com/seed34611480/session/live",
	"log":     "log",
	"os":      "os",
	"redis":   "github.com/redis/go-redis/v9",
	"session": "github.com/seed34611480/session",
	"slog":    "log/slog",
	"testing": "testing",
	"time":    "time",

	"sessiontest": "github.com/seed34611480/session/sessiontest",
}

func TestCodeInDocsCompiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		for i, block := range blocks(t, file) {
			t.Run(fmt.Sprintf("%s %d", filepath.Base(file), i+1), func(t *testing.T) {
				tool(t, "vet", write(t, block))
			})
		}
	}
}

// TestReadmeRuns pastes README's example into a program, and sends what its users would meet.
func TestReadmeRuns(t *testing.T) {
	all := blocks(t, filepath.Join(root, "README.md"))
	require.Len(t, all, 1)
	redis := miniredis.RunT(t)
	server := freeAddress(t)
	code := replaceOnce(t, all[0], `"localhost:6379"`, fmt.Sprintf("%q", redis.Addr()))
	code = replaceOnce(t, code, `"localhost:8080"`, fmt.Sprintf("%q", server))
	logged := start(t, code)
	url := "http://" + server
	realtest.Await(t, "the server", func() bool { return reachable(t, server) })

	begun := ask(t, http.MethodPost, url+"/begin", "")
	require.Equal(t, http.StatusOK, begun.status)
	require.NotEmpty(t, begun.id)
	hit := ask(t, http.MethodPost, url+"/mcp", begun.id)
	assert.Equal(t, http.StatusOK, hit.status)
	assert.Equal(t, "http://10.0.0.7:8080/mcp\n", hit.text)
	assert.Equal(t, http.StatusBadRequest, ask(t, http.MethodPost, url+"/mcp", "").status)
	assert.Equal(t, http.StatusNotFound, ask(t, http.MethodPost, url+"/mcp", "unknown").status)

	redis.Close()
	assert.Equal(t, http.StatusServiceUnavailable, ask(t, http.MethodPost, url+"/mcp", "unknown").status)
	assert.Equal(t, http.StatusServiceUnavailable, ask(t, http.MethodPost, url+"/begin", "").status)
	assert.Equal(t, http.StatusBadRequest, ask(t, http.MethodPost, url+"/mcp", "").status)
	realtest.Await(t, "the end of the local copy", func() bool { // which is served for MaxStaleness
		status := ask(t, http.MethodPost, url+"/mcp", begun.id).status
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status)
		return status == http.StatusServiceUnavailable
	})
	assert.NotContains(t, logged(), "panic")
}

var fenced = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// blocks returns the blocks of Go code in a file.
func blocks(t *testing.T, file string) []string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var code []string
	for _, match := range fenced.FindAllSubmatch(text, -1) {
		code = append(code, string(match[1]))
	}
	return code
}

// write makes a program of a block: a whole file, or declarations, or statements. It returns the name of its file.
func write(t *testing.T, block string) string {
	source := block
	if !strings.HasPrefix(block, "package ") {
		source = "package main\n" + block + "\nfunc main() {}\n"
		if _, err := parser.ParseFile(token.NewFileSet(), "", source, 0); err != nil {
			source = "package main\nfunc main() {\n" + block + "\n}\n"
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
		require.NoError(t, err)
		source = strings.Replace(source, "package main\n", "package main\n"+imports(parsed), 1)
	}
	formatted, err := format.Source([]byte(source))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, formatted, 0o600))
	return file
}

// imports returns what is missing of the packages that a file uses.
func imports(file *ast.File) string {
	var lines []string
	for _, name := range file.Unresolved {
		if path, ok := packages[name.Name]; ok {
			lines = append(lines, fmt.Sprintf("import %q\n", path))
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

// tool runs a go command in the module's root.
func tool(t *testing.T, args ...string) {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

// start runs a block as a program until the test ends. logged stops it, and returns what it has printed.
func start(t *testing.T, block string) (logged func() string) {
	program := filepath.Join(t.TempDir(), "program")
	tool(t, "build", "-o", program, write(t, block))
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	end := func() {
		stop()
		<-ended
	}
	t.Cleanup(end)
	return func() string {
		end()
		return out.String()
	}
}

// replaceOnce fails when the text to be replaced does not occur exactly once.
func replaceOnce(t *testing.T, s, was, is string) string {
	require.Equal(t, 1, strings.Count(s, was), was)
	return strings.Replace(s, was, is, 1)
}

func freeAddress(t *testing.T) string {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func reachable(t *testing.T, address string) bool {
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

type reply struct {
	status   int
	id, text string
}

// ask sends a request. A handler that panics sends no reply, which fails the test.
func ask(t *testing.T, method, url, id string) reply {
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	r.Close = true
	if id != "" {
		r.Header.Set("Mcp-Session-Id", id)
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	require.NoError(t, err)
	return reply{response.StatusCode, response.Header.Get("Mcp-Session-Id"), text.String()}
}
