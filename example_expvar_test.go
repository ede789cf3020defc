package session_test

import (
	"context"
	"encoding/json"
	"expvar"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

// Package expvar shows the counts under /debug/vars, as JSON. It serves that on http.DefaultServeMux, together with the
// command line of the process: do not let the public see it.
func ExampleStats() {
	sessions := session.NewRoutingStorage(session.NewMemoryStorage(30*time.Minute), 10_000)
	defer sessions.Close()
	expvar.Publish("sessions", expvar.Func(func() any { return sessions.Stats() }))

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c"))
	_, _ = sessions.Load(ctx, "3f2c")
	_, _ = sessions.Load(ctx, "unknown")

	var shown struct {
		Hits        uint64           `json:"hits"`
		Misses      uint64           `json:"misses"`
		FailedLoads session.Failures `json:"failed_loads"`
	}
	if err := json.Unmarshal([]byte(expvar.Get("sessions").String()), &shown); err != nil {
		fmt.Println(err)
	}
	fmt.Println(shown.Hits, "hit,", shown.Misses, "miss,", shown.FailedLoads.NotFound, "not found")
	// Output: 1 hit, 1 miss, 1 not found
}
