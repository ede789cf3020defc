// The race detector keeps memory that is free for a while.
//go:build !race

package heaptest

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// recipe is a remote that makes the session that it is asked for, and keeps nothing.
type recipe func(id string) *session.Session

func (r recipe) Load(_ context.Context, id string) (*session.Session, error) {
	encoded, err := session.JSONCodec{}.Encode(r(id))
	if err != nil {
		return nil, err
	}
	s, err := session.JSONCodec{}.Decode(encoded)
	if err != nil {
		return nil, err
	}
	session.Stamp(s, 1)
	return s, nil
}

func (recipe) Store(_ context.Context, s *session.Session) error {
	session.Stamp(s, 1)
	return nil
}

func (recipe) Delete(context.Context, string) error           { return session.ErrUnavailable }
func (recipe) DeleteExpired(context.Context, time.Time) error { return session.ErrUnavailable }

func liveHeap() int64 {
	var m runtime.MemStats
	for range 2 { // what the first one finds unreachable, the second one counts as free
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

type limits struct {
	entries int
	bytes   int64
}

// TestBytesOfTheLocalTier compares what Stats tells with the heap.
func TestBytesOfTheLocalTier(t *testing.T) {
	const entries, tolerance = 10_000, 0.1
	text := func(n int) string { return strings.Repeat("x", n) }
	recipes := map[string]recipe{
		"empty": session.New,
		"usual": func(id string) *session.Session {
			return session.New(id).WithType(session.TypeStreamable).
				WithPrincipal(session.Principal("https://issuer.example", "user-4711")).
				With("backend_url", "http://10.0.0.7:8080/mcp").With("tenant", "acme").With("version", "2025-06-18")
		},
		"metadata": func(id string) *session.Session {
			s := session.New(id)
			for i := range 30 {
				s = s.With(fmt.Sprint("key-", i), text(i))
			}
			return s
		},
		"a kilobyte of data": func(id string) *session.Session { return session.New(id).WithData([]byte(text(1000))) },
		"data of many sizes": func(id string) *session.Session {
			return session.New(id).WithData([]byte(text(len(id) * 83 % 5000)))
		},
	}
	for name, r := range recipes {
		all := []limits{{entries: entries}, {entries: 1 << 22, bytes: 4 << 20}, {entries: entries + entries/2}}
		if name != "usual" {
			all = all[:1]
		}
		for _, limits := range all {
			t.Run(fmt.Sprintf("%s, at most %d entries and %d bytes", name, limits.entries, limits.bytes), func(t *testing.T) {
				before := liveHeap()
				st := session.NewRoutingStorage(r, limits.entries, session.WithMaxLocalBytes(limits.bytes))
				for i := range entries {
					_, err := st.Load(t.Context(), session.NewID()+text(i%400))
					require.NoError(t, err)
				}
				heap, told := liveHeap()-before, st.Stats().Bytes
				t.Logf("%d entries, %d bytes of the heap, told %d (%+.1f%%), %d each",
					st.Stats().Entries, heap, told, 100*float64(told-heap)/float64(heap), told/int64(st.Stats().Entries))
				require.LessOrEqual(t, math.Abs(float64(told-heap)), tolerance*float64(heap))
				if limits.bytes > 0 {
					require.LessOrEqual(t, told, limits.bytes)
				}
				require.NoError(t, st.Close())
			})
		}
	}
}

// TestBytesOfStoredSessions: the local copy of a session that was stored shares nothing with its caller.
func TestBytesOfStoredSessions(t *testing.T) {
	const entries, tolerance = 10_000, 0.1
	for name, r := range map[string]recipe{
		"constant texts": func(id string) *session.Session {
			s := session.New(id).WithType(session.TypeStreamable).WithPrincipal("https://issuer.example user-4711")
			for _, key := range []string{"the-first-metadata-key", "the-second-metadata-key", "the-third-metadata-key"} {
				s = s.With(key, "a-value-that-is-the-same-for-all-sessions")
			}
			return s
		},
		"parts of a larger text": func(id string) *session.Session {
			request := id + strings.Repeat("x", 8<<10)
			return session.New(request[:len(id)]).WithPrincipal(request[:100]).
				WithMetadata(map[string]string{request[:50]: request[:200]}).With(request[100:120], request[200:250])
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := liveHeap()
			st := session.NewRoutingStorage(r, entries)
			for range entries {
				require.NoError(t, st.Store(t.Context(), r(session.NewID())))
			}
			heap, told := liveHeap()-before, st.Stats().Bytes
			t.Logf("%d bytes of the heap, told %d (%+.1f%%)", heap, told, 100*float64(told-heap)/float64(heap))
			require.LessOrEqual(t, math.Abs(float64(told-heap)), tolerance*float64(heap))
			require.NoError(t, st.Close())
		})
	}
}
