package redisstore

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed34611480/session/internal/errs"
)

var errNoClient = errs.SafeError("the client is nil")

// unwrap returns the client of go-redis that a client is or wraps, or an error that says why a store cannot use it. Its
// database and its topology must be known: writes through it are announced in that database, to watches of all masters.
func unwrap(client redis.UniversalClient) (redis.UniversalClient, error) {
	switch c := client.(type) {
	case nil:
		return nil, errNoClient
	case *redis.Client:
		if c != nil {
			return c, nil
		}
		return nil, errNoClient
	case *redis.ClusterClient:
		if c == nil {
			return nil, errNoClient
		}
		if c.Options().ClusterSlots != nil {
			return nil, errs.Reason("a %T with ClusterSlots of its own, as NewFailoverClusterClient makes it, hides its "+
				"database and its topology: use NewFailoverClient, or NewUniversalClient without a Route option", c)
		}
		return c, nil
	case *redis.Ring:
		return nil, errs.Reason("a %T loses the values of a shard that does not answer, and deleted values come back "+
			"with it: use NewClient, NewFailoverClient or NewClusterClient", c)
	case interface{ Unwrap() redis.UniversalClient }:
		return unwrap(c.Unwrap())
	}
	return nil, errs.Reason("it is unknown what a %T does with commands: use the client that it wraps, or give it a "+
		"method Unwrap() redis.UniversalClient; for instrumentation there is AddHook", client)
}

// database returns the number of the database that the client uses.
func database(base redis.UniversalClient) int {
	if client, ok := base.(*redis.Client); ok {
		return client.Options().DB
	}
	return 0 // a Cluster has no other
}

// controlClient returns a client of the same server with one connection of its own. A watch sends heartbeats and
// questions about the topology through it: they must not wait behind the loads that only their success keeps away. It
// repeats nothing, and has none of the hooks and limiters. The caller closes it.
func controlClient(of *redis.Client) *redis.Client {
	opts := *of.Options()
	opts.PoolSize, opts.MaxActiveConns, opts.MaxIdleConns, opts.MinIdleConns = 1, 1, 1, 0
	opts.PipelinePoolSize = -1
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.Limiter = nil
	opts.ContextTimeoutEnabled = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opts.PushNotificationProcessor = nil
	opts.ClientSideCacheConfig, opts.ClientSideCache = nil, nil
	return redis.NewClient(&opts)
}

// failoverAddr is the address in the options of a client that Sentinel tells where the master is.
const failoverAddr = "FailoverClient"

// masterAddress returns where a client of NewFailoverClient would connect to now.
func masterAddress(ctx context.Context, client *redis.Client, timeout time.Duration) (net.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	opts := client.Options()
	conn, err := opts.Dialer(ctx, opts.Network, opts.Addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.RemoteAddr(), nil
}
