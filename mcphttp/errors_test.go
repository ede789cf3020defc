package mcphttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestWriteError(t *testing.T) {
	for err, status := range map[error]int{
		session.ErrInvalidID:                          400,
		session.ErrNotFound:                           404,
		session.ErrCorrupt:                            404,
		session.ErrTooMany:                            409,
		session.ErrTooLarge:                           413,
		fmt.Errorf("read: %w", &http.MaxBytesError{}): 413,
		session.ErrUnavailable:                        503,
		session.ErrClosed:                             503,
		ErrShutdown:                                   503,
		context.Canceled:                              503,
		errNoOwner:                                    401,
		errRepeated:                                   400,
		errors.New("of which a client must not know X"):          500,
		errors.Join(session.ErrNotFound, session.ErrUnavailable): 503,
	} {
		w := httptest.NewRecorder()
		WriteError(w, err)
		require.Equal(t, status, w.Code, err)
		require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
		require.Equal(t, status == 503, w.Header().Get("Retry-After") == "1", err)
		require.NotContains(t, w.Body.String(), "X")
		require.NotContains(t, w.Body.String(), "{")
	}
	w := httptest.NewRecorder()
	WriteError(w, nil)
	require.Empty(t, w.Body.String())
	require.Empty(t, w.Header())
}
