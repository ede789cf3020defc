package sessionotel_test

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed34611480/session"
	sessionotel "github.com/seed34611480/session/integrations/otel"
)

// Metrics and spans of a storage. A service hands nil instead of its providers, when they are the global ones.
func Example() {
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))

	hook, err := sessionotel.RemoteHook(nil, meters)
	if err != nil {
		panic(err)
	}
	remote := session.NewMemoryStorage(30 * time.Minute) // or a RedisStorage
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithRemoteHook(hook))
	defer sessions.Close()
	registration, err := sessionotel.Observe(meters, sessions)
	if err != nil {
		panic(err)
	}
	defer func() { _ = registration.Unregister() }()

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c"))
	_, _ = sessions.Load(ctx, "3f2c")

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		panic(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		loads, ok := m.Data.(metricdata.Sum[float64])
		if !ok || m.Name != "sessionstore.loads" {
			continue
		}
		for _, point := range loads.DataPoints {
			result, _ := point.Attributes.Value("result")
			fmt.Println(m.Name, result.AsString(), point.Value)
		}
	}
	// Unordered output:
	// sessionstore.loads hit 1
	// sessionstore.loads miss 0
	// sessionstore.loads absent 0
}
