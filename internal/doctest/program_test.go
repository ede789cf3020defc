package doctest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// start runs a block as a program until the test ends, with other addresses than it has, one of which it listens at.
// logged stops it, and returns what it has printed.
func start(t *testing.T, b block, address string, replace map[string]string) (url string, logged func() string) {
	server := freeAddress(t)
	replace[address] = server
	for was, is := range replace {
		require.Equal(t, 1, strings.Count(b.code, was), was)
		b.code = strings.Replace(b.code, was, is, 1)
	}
	program := filepath.Join(t.TempDir(), "program")
	s := newSource(t, "program", b)
	tool(t, s.module, []source{s}, "build", "-o", program, folder+"/program")

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
	realtest.Await(t, "the server", func() bool { return reachable(t, server) })
	return "http://" + server, func() string {
		end()
		return out.String()
	}
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
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
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
