package sessionotel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	api "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed34611480/session"
	sessionotel "github.com/seed34611480/session/integrations/otel"
	"github.com/seed34611480/session/internal/leaktest"
	"github.com/seed34611480/session/internal/metrics"
	"github.com/seed34611480/session/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

var secrets = []string{"secret-id", "secret-owner", "secret-value"}

// observed is a storage on a real server, with everything that it exports.
type observed struct {
	*session.RoutingStorage
	server *redistest.Server
	reader *metric.ManualReader
	spans  *tracetest.SpanRecorder
}

func observe(t *testing.T) *observed {
	o := &observed{
		server: redistest.Start(t), reader: metric.NewManualReader(), spans: tracetest.NewSpanRecorder(),
	}
	meters := metric.NewMeterProvider(metric.WithReader(o.reader))
	tracers := trace.NewTracerProvider(trace.WithSpanProcessor(o.spans))
	hook, err := sessionotel.RemoteHook(tracers, meters)
	require.NoError(t, err)
	client := o.server.Client(t, func(o *redis.Options) { o.DialTimeout, o.ReadTimeout = time.Second, time.Second })
	o.RoutingStorage = session.NewRoutingStorage(session.NewRedisStorage(client, time.Minute), 10,
		session.WithRemoteHook(hook))
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	registration, err := sessionotel.Observe(meters, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, registration.Unregister()) })
	require.Eventually(t, func() bool { return o.Stats().Mode == session.ModeLeased }, 10*time.Second, time.Millisecond,
		"the hook hides no capability")
	return o
}

// use makes each result once or more, and an outage in the end.
func (o *observed) use(ctx context.Context, t *testing.T) {
	s := session.New("secret-id").WithPrincipal("secret-owner").With("k", "secret-value")
	require.NoError(t, o.Create(ctx, s))
	require.ErrorIs(t, o.Create(ctx, s), session.ErrExists)
	for range 3 {
		_, err := o.Load(ctx, "secret-id")
		require.NoError(t, err)
	}
	_, err := o.LoadFresh(ctx, "secret-id")
	require.NoError(t, err)
	_, err = o.Load(ctx, "secret-id-2")
	require.ErrorIs(t, err, session.ErrNotFound)
	o.server.Stop()
	require.ErrorIs(t, o.Store(ctx, s.With("k", "secret-value-2")), session.ErrUnavailable)
}

// TestWhatIsExported: names, attributes and numbers, and nothing of a session in any of them.
func TestWhatIsExported(t *testing.T) {
	t.Parallel()
	o := observe(t)
	o.use(t.Context(), t)
	var all metricdata.ResourceMetrics
	require.NoError(t, o.reader.Collect(t.Context(), &all))
	got := make(map[string]float64)
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[float64]:
			require.True(t, data.IsMonotonic)
			for _, p := range data.DataPoints {
				got[m.Name+of(p.Attributes)] = p.Value
			}
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				got[m.Name+of(p.Attributes)] = p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				got[m.Name+of(p.Attributes)] = float64(p.Count)
				require.Equal(t, metrics.DurationBuckets, p.Bounds)
				require.Less(t, p.Sum, 10., "seconds")
			}
		}
	}
	for name, want := range map[string]float64{
		"sessionstore.loads result=hit":                                2, // the first comes after a failed write
		"sessionstore.loads result=miss":                               3,
		"sessionstore.loads result=absent":                             0,
		"sessionstore.failures error.type=not_found operation=load":    1,
		"sessionstore.failures error.type=unavailable operation=write": 1,
		"sessionstore.failures error.type=conflict operation=write":    1,
		"sessionstore.entries":                                         0,
		duration + " db.operation.name=load db.system.name=redis":      2,
		duration + " db.operation.name=create db.system.name=redis":    1,
	} {
		require.Contains(t, got, name)
		require.InDelta(t, want, got[name], 0, name)
	}
	modes := 0.
	for _, mode := range []string{"leased", "bounded age", "unavailable", "stale-if-error"} {
		modes += got["sessionstore.mode mode="+mode]
	}
	require.InDelta(t, 1, modes, 0)
	requireNoSecrets(t, fmt.Sprintf("%+v", all))
}

const duration = "db.client.operation.duration"

func of(set attribute.Set) string {
	var text strings.Builder
	for _, a := range set.ToSlice() { // sorted
		fmt.Fprintf(&text, " %s=%s", a.Key, a.Value.String())
	}
	return text.String()
}

func requireNoSecrets(t *testing.T, text string) {
	for _, secret := range secrets {
		require.NotContains(t, text, secret)
	}
}

func TestSpansOfCalls(t *testing.T) {
	t.Parallel()
	o := observe(t)
	tracers := trace.NewTracerProvider(trace.WithSpanProcessor(o.spans))
	ctx, root := tracers.Tracer("test").Start(t.Context(), "request")
	o.use(ctx, t)
	root.End()
	var calls []string
	for _, span := range o.spans.Ended() {
		requireNoSecrets(t, fmt.Sprintf("%s %v %v %+v", span.Name(), span.Attributes(), span.Events(), span.Status()))
		op, ok := strings.CutPrefix(span.Name(), "sessionstore ")
		if !ok || !slices.Contains([]string{"create", "load", "store"}, op) { // a refresh belongs to no request
			continue
		}
		require.Equal(t, root.SpanContext().SpanID(), span.Parent().SpanID(), span.Name())
		kind := ""
		for _, a := range span.Attributes() {
			if a.Key == "error.type" {
				kind = " " + a.Value.AsString()
			}
		}
		calls = append(calls, op+kind+" "+span.Status().Code.String())
		if span.Status().Code == codes.Error {
			require.NotEmpty(t, span.Status().Description)
		}
	}
	require.Equal(t, []string{
		"create Unset", "create conflict Unset", "load Unset", "load Unset", "load not_found Unset",
		"store unavailable Error",
	}, calls, "hits have no spans")
}

// TestNamesInPrometheus compares what the exporter makes of the names with what the other integration exports.
func TestNamesInPrometheus(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	exported, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(),
		exporter.WithoutTargetInfo())
	require.NoError(t, err)
	meters := metric.NewMeterProvider(metric.WithReader(exported))
	hook, err := sessionotel.RemoteHook(nil, meters)
	require.NoError(t, err)
	st := session.NewRoutingStorage(session.NewMemoryStorage(time.Minute), 10, session.WithRemoteHook(hook))
	defer func() { require.NoError(t, st.Close()) }()
	_, err = sessionotel.Observe(meters, st, attribute.String("storage", "mcp"))
	require.NoError(t, err)
	_, err = st.Load(t.Context(), "unknown")
	require.ErrorIs(t, err, session.ErrNotFound)
	require.Eventually(t, func() bool { return st.Stats().ProofAge >= 0 }, 10*time.Second, time.Millisecond)

	families, err := registry.Gather()
	require.NoError(t, err)
	labels := make(map[string][]string)
	for _, family := range families {
		labels[family.GetName()] = labelsOf(family)
	}
	for _, m := range metrics.All {
		want := []string{"storage"}
		for _, key := range m.Labels {
			want = append(want, metrics.PrometheusLabel(key))
		}
		require.ElementsMatch(t, want, labels[m.PrometheusName()], m.PrometheusName())
	}
	require.ElementsMatch(t, []string{"db_system_name", "db_operation_name", "error_type"},
		labels["db_client_operation_duration_seconds"])
}

func labelsOf(family *dto.MetricFamily) (names []string) {
	for _, pair := range family.GetMetric()[0].GetLabel() {
		names = append(names, pair.GetName())
	}
	return names
}

// TestStoragesSideBySide has two storages in one process, of which one is observed no more in the end.
func TestStoragesSideBySide(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	var registrations []api.Registration
	labels := []attribute.KeyValue{attribute.String("storage", "")}
	for _, name := range []string{"mcp", "web"} {
		st := session.NewRoutingStorage(session.NewMemoryStorage(time.Minute), 10)
		labels[0] = attribute.String("storage", name) // the same slice again
		registration, err := sessionotel.Observe(meters, st, labels...)
		require.NoError(t, err)
		registrations = append(registrations, registration)
		require.NoError(t, st.Create(t.Context(), session.New("secret-id")))
		require.NoError(t, st.Close()) // it may be observed after that
	}
	require.ElementsMatch(t, []string{" storage=mcp", " storage=web"}, storagesOf(t, reader))
	require.NoError(t, registrations[0].Unregister())
	require.Equal(t, []string{" storage=web"}, storagesOf(t, reader))
}

// storagesOf returns the attributes of a metric of which each storage has one.
func storagesOf(t *testing.T, reader *metric.ManualReader) (found []string) {
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	for _, m := range all.ScopeMetrics[0].Metrics {
		if entries, ok := m.Data.(metricdata.Gauge[float64]); ok && m.Name == "sessionstore.entries" {
			for _, point := range entries.DataPoints {
				found = append(found, of(point.Attributes))
			}
		}
	}
	return found
}

func TestNothingToObserve(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { _, _ = sessionotel.Observe(nil, nil) })
}

// TestSystemIsAnAttribute: another remote has another name.
func TestSystemIsAnAttribute(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	hook, err := sessionotel.RemoteHook(trace.NewTracerProvider(trace.WithSpanProcessor(spans)), nil,
		attribute.String("db.system.name", "postgresql"))
	require.NoError(t, err)
	_, end := hook(t.Context(), "load")
	end(errors.Join(session.ErrUnavailable))
	require.Equal(t, []attribute.KeyValue{
		attribute.String("db.system.name", "postgresql"), attribute.String("db.operation.name", "load"),
		attribute.String("error.type", "unavailable"),
	}, spans.Ended()[0].Attributes())
}
