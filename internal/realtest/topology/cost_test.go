package topology

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// costVariable turns TestClusterCosts on.
const costVariable = "CLUSTER_COSTS"

// TestClusterCosts prints what an event and a heartbeat cost on a Cluster of real processes: with shard channels, and
// with broadcasts, as when no user has the permission for shard channels. docs/scaling.md has the result.
func TestClusterCosts(t *testing.T) {
	if os.Getenv(costVariable) == "" {
		t.Skip("set " + costVariable + "=1: it takes minutes")
	}
	redistest.SkipBefore(t, "7.0.0", "it has no shard channels")
	t.Log("masters, watches, way | for each write: events for each watch, bus messages, bus bytes, µs of the masters, " +
		"µs of the replicas | p50, p99 of a write | bus messages for each heartbeat")
	for _, masters := range []int{3, 6} {
		for _, watches := range []int{3, 10, 50} {
			for _, plain := range []bool{true, false} {
				t.Run(fmt.Sprint(masters, " ", watches, " ", plain), func(t *testing.T) {
					measureCosts(t, masters, watches, plain)
				})
			}
		}
	}
}

const (
	costWrites   = 2000
	costInterval = 2 * time.Millisecond // between two writes
	costSettles  = 9 * time.Second      // 2S until links join, with the default S, and some time to join
)

func measureCosts(t *testing.T, masters, watches int, plain bool) {
	t.Helper()
	cluster := redistest.StartCluster(t, masters, 1,
		redistest.WithConfig("user plain on >plain ~* &* +@all -spublish -ssubscribe"))
	client := func() redis.UniversalClient {
		return realtest.ClusterClient(t, cluster, func(o *redis.ClusterOptions) {
			if plain {
				o.Username, o.Password = "plain", "plain"
			}
			o.PoolSize = 2
		})
	}
	var events, proofs atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, watches)
	for range watches {
		st := session.NewRedisStorage(client(), time.Hour)
		go func() {
			defer func() { done <- struct{}{} }()
			_ = st.Watch(ctx, 500*time.Millisecond, func(e session.Event) {
				switch e.(type) {
				case session.Changed:
					events.Add(1)
				case session.Alive:
					proofs.Add(1)
				}
			})
		}()
	}
	defer func() {
		cancel()
		for range watches {
			<-done
		}
	}()
	time.Sleep(costSettles)
	require.Positive(t, proofs.Load())

	writer := session.NewRedisStorage(client(), time.Hour)
	sessions := make([]*session.Session, 512)
	for i := range sessions {
		sessions[i] = session.New(session.NewID()).With("data", strings.Repeat("x", 400))
		require.NoError(t, writer.Store(ctx, sessions[i]))
	}
	const duration = costWrites * costInterval
	idle := usageOf(t, cluster)
	time.Sleep(duration)
	before := usageOf(t, cluster)
	idle = before.since(idle)
	events.Store(0)
	latencies := make([]time.Duration, 0, costWrites)
	began := time.Now()
	for i := range costWrites {
		time.Sleep(time.Until(began.Add(time.Duration(i) * costInterval)))
		s := sessions[i%len(sessions)]
		start := time.Now()
		require.NoError(t, writer.Store(ctx, s))
		latencies = append(latencies, time.Since(start))
	}
	took := time.Since(began)
	time.Sleep(200 * time.Millisecond)
	used := usageOf(t, cluster).since(before)
	slices.Sort(latencies)
	per := func(whole, idle float64) float64 {
		return (whole - idle*float64(took+200*time.Millisecond)/float64(duration)) / costWrites
	}
	heartbeats := float64(watches*masters) * duration.Seconds() / 0.5
	way := map[bool]string{true: "broadcast", false: "shard channels"}[plain]
	t.Logf("%d, %d, %s | %.2f, %.1f, %.0f, %.1f, %.1f | %v, %v | %.1f", masters, watches, way,
		float64(events.Load())/costWrites/float64(watches),
		per(used.messages, idle.messages), per(used.busBytes, idle.busBytes),
		per(used.masters, idle.masters), per(used.replicas, idle.replicas),
		latencies[len(latencies)/2].Round(time.Microsecond), latencies[len(latencies)*99/100].Round(time.Microsecond),
		idle.messages/heartbeats)
}

// usage is what the nodes of a Cluster have used so far: in microseconds of the processor, and on the bus.
type usage struct{ messages, busBytes, masters, replicas float64 }

func (u usage) since(earlier usage) usage {
	return usage{
		u.messages - earlier.messages, u.busBytes - earlier.busBytes, u.masters - earlier.masters,
		u.replicas - earlier.replicas,
	}
}

func usageOf(t *testing.T, cluster *redistest.Cluster) (u usage) {
	t.Helper()
	for _, node := range cluster.Nodes {
		client := node.Client(t)
		info, err := client.Info(t.Context()).Result()
		require.NoError(t, err)
		bus, err := client.ClusterInfo(t.Context()).Result()
		require.NoError(t, err)
		for _, kind := range []string{"publish", "publishshard"} {
			u.messages += number(bus, "cluster_stats_messages_"+kind+"_sent")
		}
		written, err := os.ReadFile(fmt.Sprintf("/proc/%.0f/io", number(info, "process_id")))
		require.NoError(t, err)
		u.busBytes += number(string(written), "wchar") - number(info, "total_net_output_bytes") -
			number(info, "total_net_repl_output_bytes")
		cpu := 1e6 * (number(info, "used_cpu_user") + number(info, "used_cpu_sys"))
		if strings.Contains(info, "role:master") {
			u.masters += cpu
		} else {
			u.replicas += cpu
		}
		require.NoError(t, client.Close())
	}
	return u
}

// number returns the number behind a name, or 0.
func number(text, name string) float64 {
	match := regexp.MustCompile(`(?m)^` + name + `: ?([\d.]+)`).FindStringSubmatch(text)
	if match == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(match[1], 64)
	return n
}
