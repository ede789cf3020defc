package sessionprometheus_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed34611480/session"
	sessionprometheus "github.com/seed34611480/session/integrations/prometheus"
)

// What a Prometheus can scrape. A service serves the registry by promhttp.
func Example() {
	remote := sessionprometheus.NewRemote("redis")
	storage := session.NewMemoryStorage(30 * time.Minute) // or a RedisStorage
	sessions := session.NewRoutingStorage(storage, 10_000, session.WithRemoteHook(remote.Hook))
	defer sessions.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(remote, sessionprometheus.NewCollector(sessions))

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c"))
	_, _ = sessions.Load(ctx, "3f2c")
	series, err := testutil.GatherAndCount(registry, "sessionstore_loads_total", "db_client_operation_duration_seconds")
	fmt.Println(series, err)
	// Output: 4 <nil>
}
