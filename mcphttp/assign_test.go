package mcphttp

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// meeting is a storage that lets two loads end together, so that both see the same.
type meeting struct {
	*session.MemoryStorage

	mu   sync.Mutex // protects left
	left int        // how many loads wait
	met  sync.WaitGroup
}

func (m *meeting) arrange() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = 2
	m.met.Add(2)
}

func (m *meeting) Load(ctx context.Context, id string) (*session.Session, error) {
	s, err := m.MemoryStorage.Load(ctx, id)
	m.mu.Lock()
	waits := m.left > 0
	m.left--
	m.mu.Unlock()
	if waits {
		m.met.Done()
		m.met.Wait()
	}
	return s, err
}

func TestReplicasAgreeOnAKey(t *testing.T) {
	t.Parallel()
	key := WithKey(func(r *http.Request) (string, bool) { return "all", r.Header.Get("Key") != "" })
	st, peers := &meeting{MemoryStorage: startStorage()}, startPeers(t, 3)
	one, first := startProxy(t, st, peers, key)
	two, second := startProxy(t, st, peers, key)
	call(t, second, callMethod, `{}`) // so that it is another one's turn

	both := func() (a, b any) {
		st.arrange()
		var other sync.WaitGroup
		other.Go(func() {
			_, result := call(t, first, callMethod, `{}`, "Key", "k")
			a = result["server"]
		})
		_, result := call(t, second, callMethod, `{}`, "Key", "k")
		other.Wait()
		return a, result["server"]
	}
	a, b := both()
	require.Equal(t, a, b, "no one has had the key")

	died := uint64(a.(string)[0] - 'a')
	for i, p := range []*Proxy{one, two} {
		dead := p.backends.list[died].url.Host
		p.backends.others.Store(died + uint64(i) + 1) // each would take another one
		p.health.hosts[dead] = &trouble{dead: true, last: time.Now(), nextTrial: time.Now().Add(time.Hour)}
		p.health.some.Store(1)
	}
	c, d := both()
	require.Equal(t, c, d, "its backend has died")
	require.NotEqual(t, a, c)
}
