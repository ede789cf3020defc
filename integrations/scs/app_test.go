package scsstore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// counted is a storage that counts what is written, and can be taken away.
type counted struct {
	*session.MemoryStorage

	writes atomic.Int64
	down   atomic.Bool
}

var errAway = errors.Join(session.ErrUnavailable, errors.New("dial tcp: refused"))

func (c *counted) write() error {
	if c.down.Load() {
		return errAway
	}
	c.writes.Add(1)
	return nil
}

func (c *counted) Store(ctx context.Context, s *session.Session) error {
	if err := c.write(); err != nil {
		return err
	}
	return c.MemoryStorage.Store(ctx, s)
}

func (c *counted) Create(ctx context.Context, s *session.Session) error {
	if err := c.write(); err != nil {
		return err
	}
	return c.MemoryStorage.Create(ctx, s)
}

func (c *counted) Delete(ctx context.Context, id string) error {
	if err := c.write(); err != nil {
		return err
	}
	return c.MemoryStorage.Delete(ctx, id)
}

func (c *counted) Load(ctx context.Context, id string) (*session.Session, error) {
	if c.down.Load() {
		return nil, errAway
	}
	return c.MemoryStorage.Load(ctx, id)
}

func newCounted(opts ...session.MemoryOption) *counted {
	return &counted{MemoryStorage: session.NewMemoryStorage(time.Hour, opts...)}
}

// defaults is what scs.New returns, once: each call starts a goroutine, which a test with virtual time cannot end.
var defaults = scs.New()

// newManager returns a manager whose failures are answered with the status of the error.
func newManager(st session.Storage, idle, lifetime time.Duration, opts ...Option) *scs.SessionManager {
	m := new(*defaults)
	m.IdleTimeout, m.Lifetime = idle, lifetime
	m.Store = New(st, opts...)
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, "", session.HTTPStatus(err))
	}
	return m
}

// newApp is a web app. A request that waits has found its session before, and commits it afterwards.
func newApp(m *scs.SessionManager, enter func(), leave func()) http.Handler {
	wait := func() {
		if enter != nil {
			enter()
			leave()
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			m.ErrorFunc(w, r, err)
			return
		}
		m.Put(r.Context(), "user", r.FormValue("user"))
		m.Put(r.Context(), "theme", "dark")
		m.Put(r.Context(), "seen", 0)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, m.GetString(r.Context(), "user"))
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		seen := m.GetInt(r.Context(), "seen") + 1
		m.Put(r.Context(), "seen", seen)
		_, _ = io.WriteString(w, strconv.Itoa(seen))
	})
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strconv.Itoa(m.GetInt(r.Context(), "seen")))
	})
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { wait() })
	mux.HandleFunc("/slowcount", func(_ http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "seen", m.GetInt(r.Context(), "seen")+1)
		wait()
	})
	mux.HandleFunc("/twice", func(_ http.ResponseWriter, r *http.Request) { // the session is what it was, in the end
		for _, seen := range []int{1000, m.GetInt(r.Context(), "seen")} {
			m.Put(r.Context(), "seen", seen)
			if _, _, err := m.Commit(r.Context()); err != nil {
				panic(err)
			}
		}
	})
	mux.HandleFunc("/extend", func(_ http.ResponseWriter, r *http.Request) {
		m.SetDeadline(r.Context(), time.Now().Add(100*time.Hour).UTC())
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		if err := m.Destroy(r.Context()); err != nil {
			m.ErrorFunc(w, r, err)
		}
	})
	return m.LoadAndSave(mux)
}

// browser is a client in the same process, with a cookie.
type browser struct {
	app    http.Handler
	cookie *http.Cookie
}

// get returns the status and the page.
func (b *browser) get(t *testing.T, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context()) // net/http ends the context of a request with it
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.app.ServeHTTP(w, r)
	response := w.Result()
	defer response.Body.Close()
	for _, cookie := range response.Cookies() {
		if b.cookie = cookie; cookie.MaxAge < 0 {
			b.cookie = nil
		}
	}
	return w.Code, w.Body.String()
}

func (b *browser) user(t *testing.T) string {
	t.Helper()
	status, user := b.get(t, "/")
	require.Equal(t, 200, status)
	return user
}

func logIn(t *testing.T, app http.Handler, user string) *browser {
	t.Helper()
	b := &browser{app: app}
	status, _ := b.get(t, "/login?user="+user)
	require.Equal(t, 200, status)
	require.NotNil(t, b.cookie)
	return b
}
