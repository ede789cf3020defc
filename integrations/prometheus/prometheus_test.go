package sessionprometheus_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	sessionprometheus "github.com/seed34611480/session/integrations/prometheus"
	"github.com/seed34611480/session/internal/leaktest"
	"github.com/seed34611480/session/internal/metrics"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

func TestWhatIsExported(t *testing.T) {
	t.Parallel()
	remote := sessionprometheus.NewRemote("memory")
	st := session.NewRoutingStorage(session.NewMemoryStorage(time.Minute), 10, session.WithRemoteHook(remote.Hook))
	defer func() { require.NoError(t, st.Close()) }()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(remote, sessionprometheus.NewCollector(st))

	require.NoError(t, st.Store(t.Context(), session.New("secret-id").WithPrincipal("secret-owner").With("k", "secret")))
	for range 3 {
		_, err := st.Load(t.Context(), "secret-id")
		require.NoError(t, err)
	}
	_, err := st.Load(t.Context(), "secret-id-2")
	require.ErrorIs(t, err, session.ErrNotFound)
	require.Eventually(t, func() bool { return st.Stats().Mode == session.ModeLeased }, 10*time.Second, time.Millisecond)

	families, err := registry.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, family := range families {
		require.NotContains(t, family.String(), "secret")
		for _, m := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range m.GetLabel() {
				name = append(name, label.GetValue())
			}
			samples := float64(m.GetHistogram().GetSampleCount())
			got[strings.Join(name, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + samples
		}
	}
	for name, want := range map[string]float64{
		"sessionstore_loads_total hit":                               3,
		"sessionstore_loads_total miss":                              1,
		"sessionstore_failures_total not_found load":                 1,
		"sessionstore_mode leased":                                   1,
		"sessionstore_mode unavailable":                              0,
		"sessionstore_entries":                                       1,
		"sessionstore_gaps_total":                                    1,
		"db_client_operation_duration_seconds store memory ":         1,
		"db_client_operation_duration_seconds load memory not_found": 1,
	} {
		require.Contains(t, got, name)
		require.InDelta(t, want, got[name], 0, name)
	}
	require.Len(t, families, len(metrics.All)+1)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestStoragesSideBySide: a label tells several storages of one process apart.
func TestStoragesSideBySide(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"mcp", "web"} {
		st := session.NewRoutingStorage(session.NewMemoryStorage(time.Minute), 10)
		defer func() { require.NoError(t, st.Close()) }()
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"storage": name}, registry)
		require.NoError(t, labelled.Register(sessionprometheus.NewCollector(st)))
	}
	count, err := testutil.GatherAndCount(registry, "sessionstore_entries")
	require.NoError(t, err)
	require.Equal(t, 2, count)
}

func TestNothingToCollect(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { sessionprometheus.NewCollector(nil) })
}
