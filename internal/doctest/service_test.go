package doctest

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestServerOfDocsRuns ends the server of docs/service.md by each of the signals, while it has a stream.
func TestServerOfDocsRuns(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	require.NoError(t, session.NewRedisStorage(client, time.Minute).Create(t.Context(), session.New("3f2c")))
	file := build(t, blocks(t, filepath.Join(root, "docs", "service.md"))[0], map[string]string{
		"time.Sleep(5 * time.Second)": "time.Sleep(time.Second)",
	})
	for name, signal := range map[string]syscall.Signal{"terminate": syscall.SIGTERM, "interrupt": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, file, map[string]string{"6379": server.Addr()})
			for _, path := range []string{"/livez", "/readyz"} {
				assert.Equal(t, http.StatusOK, send(t, http.MethodGet, p.url+path).status, path)
			}
			assert.Equal(t, http.StatusBadRequest, send(t, http.MethodGet, p.url+"/stream").status)
			assert.Equal(t, http.StatusNotFound, send(t, http.MethodGet, p.url+"/stream", "X-Session", "unknown").status)

			stream := open(t, p.url+"/stream", "X-Session", "3f2c")
			require.NoError(t, p.cmd.Process.Signal(signal))
			unready := time.Now()
			for send(t, http.MethodGet, p.url+"/readyz").status == http.StatusOK { // the signal is on its way
				require.Less(t, time.Since(unready), time.Second)
			}
			assert.Equal(t, http.StatusOK, send(t, http.MethodGet, p.url+"/livez").status, "it serves on")
			_, err := io.Copy(io.Discard, stream)
			require.NoError(t, err, "it ends in order")
			select {
			case <-p.ended:
			case <-time.After(20 * time.Second):
				t.Error("the program goes on")
			}
			assert.Zero(t, p.cmd.ProcessState.ExitCode(), p.stop())
		})
	}
}

// open begins a request whose answer goes on.
func open(t *testing.T, url, header, value string) io.Reader {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Header.Set(header, value)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	return response.Body
}
