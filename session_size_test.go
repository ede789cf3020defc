package session

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recipe is a remote that makes the session that it is asked for, and keeps nothing.
type recipe func(id string) *Session

func (r recipe) Load(_ context.Context, id string) (*Session, error) {
	encoded, err := JSONCodec{}.Encode(r(id))
	if err != nil {
		return nil, err
	}
	s, err := JSONCodec{}.Decode(encoded)
	if err != nil {
		return nil, err
	}
	Stamp(s, 1)
	return s, nil
}

func (recipe) Store(context.Context, *Session) error          { return ErrUnavailable }
func (recipe) Delete(context.Context, string) error           { return ErrUnavailable }
func (recipe) DeleteExpired(context.Context, time.Time) error { return ErrUnavailable }

func liveHeap() int64 {
	var m runtime.MemStats
	for range 2 { // what the first one finds unreachable, the second one counts as free
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestBytesOfTheLocalTier compares what Stats tells with the heap.
func TestBytesOfTheLocalTier(t *testing.T) { // not parallel: it measures the heap of the process
	const entries, tolerance = 10_000, 0.1
	text := func(n int) string { return strings.Repeat("x", n) }
	recipes := map[string]recipe{
		"empty": New,
		"usual": func(id string) *Session {
			return New(id).WithType(TypeStreamable).WithPrincipal(Principal("https://issuer.example", "user-4711")).
				With("backend_url", "http://10.0.0.7:8080/mcp").With("tenant", "acme").With("version", "2025-06-18")
		},
		"metadata": func(id string) *Session {
			s := New(id)
			for i := range 30 {
				s = s.With(fmt.Sprint("key-", i), text(i))
			}
			return s
		},
		"a kilobyte of data": func(id string) *Session { return New(id).WithData([]byte(text(1000))) },
		"data of many sizes": func(id string) *Session { return New(id).WithData([]byte(text(len(id) * 83 % 5000))) },
	}
	for name, r := range recipes {
		for _, limits := range []struct {
			entries int
			bytes   int64
		}{{entries: entries}, {entries: 1 << 22, bytes: 4 << 20}, {entries: entries + entries/2}} {
			t.Run(fmt.Sprintf("%s, at most %d entries and %d bytes", name, limits.entries, limits.bytes), func(t *testing.T) {
				before := liveHeap()
				st := NewRoutingStorage(r, limits.entries, WithMaxLocalBytes(limits.bytes))
				for i := range entries {
					_, err := st.Load(t.Context(), NewID()+text(i%400))
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
