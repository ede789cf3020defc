package doctest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// program is a block that runs until the test ends.
type program struct {
	url   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the program has ended
	out   bytes.Buffer  // what it has printed, to be read when it has ended
}

var address = regexp.MustCompile(`"localhost:(\d+)"`)

// build makes a program of a block, with some of its text replaced. Its addresses are those that start gives it.
func build(t *testing.T, b block, replace map[string]string) (file string) {
	for was, is := range replace {
		require.Equal(t, 1, strings.Count(b.code, was), was)
		b.code = strings.Replace(b.code, was, is, 1)
	}
	b.code = address.ReplaceAllString(b.code, `address("$1")`)
	main := newSource(t, "program", b)
	addresses := source{name: main.name, file: "address.go", text: `package main

import "os"

func address(port string) string { return os.Getenv("ADDRESS_" + port) }
`}
	file = filepath.Join(t.TempDir(), "program")
	tool(t, main.module, []source{main, addresses}, "build", "-ldflags=-s -w", "-o", file, "./program")
	return file
}

// start runs a program with addresses in the place of the ports that its block has. It listens at a free one in the
// place of 8080.
func start(t *testing.T, file string, addresses map[string]string) *program {
	server := freeAddress(t)
	p := &program{url: "http://" + server, cmd: exec.CommandContext(t.Context(), file), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "ADDRESS_8080="+server)
	for port, is := range addresses {
		p.cmd.Env = append(p.cmd.Env, "ADDRESS_"+port+"="+is)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.stop() })
	realtest.Await(t, "the server", func() bool { return reachable(t, server) })
	return p
}

// stop kills the program, if it has not ended, and returns what it has printed.
func (p *program) stop() string {
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.ended
	return p.out.String()
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

// backend starts an MCP server, as much of one as is needed here. It returns its address.
func backend(t *testing.T, name string) string {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == "" && r.Header.Get("Mcp-Session-Id") == "" {
			w.Header().Set("Mcp-Session-Id", session.NewID()) // the answer to an initialize
		}
		if r.Header.Get("Authorization") != "" {
			fmt.Fprint(w, "a token for ")
		}
		fmt.Fprint(w, name)
	})}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return listener.Addr().String()
}

type reply struct {
	status int
	header http.Header
	id     string // of the MCP session that has begun
	text   string
}

// send sends a request with headers, given as name and value. A handler that panics sends no reply, which fails the
// test.
func send(t *testing.T, method, url string, headers ...string) reply {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	r.Close = true
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	require.NoError(t, err)
	return reply{response.StatusCode, response.Header, response.Header.Get("Mcp-Session-Id"), text.String()}
}

// requireOutage stops Redis, and waits until the local copy of a session has ended, which is served for MaxStaleness.
func requireOutage(t *testing.T, server *miniredis.Miniredis, url, id string) {
	server.Close()
	realtest.Await(t, "the end of the local copy", func() bool {
		status := send(t, http.MethodPost, url, "Mcp-Session-Id", id).status
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status)
		return status == http.StatusServiceUnavailable
	})
}
