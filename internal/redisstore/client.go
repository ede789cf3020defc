package redisstore

import (
	"context"
	"regexp"
	"strconv"

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
		if c != nil {
			return c, nil
		}
		return nil, errNoClient
	case *redis.Ring:
		return nil, errs.Reason("a %T loses the values of a shard that does not answer, and deleted values come back "+
			"with it: use NewClient, NewFailoverClient or NewClusterClient", c)
	case interface{ Unwrap() redis.UniversalClient }:
		return unwrap(c.Unwrap())
	}
	return nil, errs.Reason("it is unknown what a %T does with commands: use the client that it wraps, or give it a "+
		"method Unwrap() redis.UniversalClient; for instrumentation there is AddHook", client)
}

// realCluster returns the client of a Cluster whose nodes say themselves which of them has a slot, or nil for any
// other.
//
// A ClusterClient with ClusterSlots of its own is another: the function says where commands go. It is what
// NewFailoverClusterClient makes. Behind it is one server, which Sentinel names.
func realCluster(base redis.UniversalClient) *redis.ClusterClient {
	if c, ok := base.(*redis.ClusterClient); ok && c.Options().ClusterSlots == nil {
		return c
	}
	return nil
}

// eventsChannel returns the name of the channel for events. It has the number of the database, because channels belong
// to the whole server. Only the client of NewFailoverClusterClient does not tell the number: its connections select the
// database in a callback. So the server is asked, once.
func (s *Store) eventsChannel(ctx context.Context) (string, error) {
	if name := s.events.Load(); name != nil {
		return *name, nil
	}
	database := 0 // a Cluster has no other
	switch base := s.base.(type) {
	case *redis.Client:
		database = base.Options().DB
	case *redis.ClusterClient:
		if realCluster(base) != nil {
			break
		}
		var err error
		if database, err = askForDatabase(ctx, base); err != nil {
			return "", noAnswer(err)
		}
	}
	name := s.prefix + "!events:" + strconv.Itoa(database)
	s.events.Store(&name)
	return name, nil
}

var databaseInInfo = regexp.MustCompile(`\bdb=(\d+)\b`)

// askForDatabase returns the number of the database that the connections of a client select.
func askForDatabase(ctx context.Context, cluster *redis.ClusterClient) (int, error) {
	if _, err := namedMaster(ctx, cluster); err != nil {
		return 0, err
	}
	master, err := cluster.MasterForKey(ctx, "")
	if err != nil {
		return 0, err
	}
	conn := master.Conn()
	defer func() { _ = conn.Close() }()
	info, err := conn.Do(ctx, "client", "info").Text()
	if err != nil {
		return 0, errs.During("a client made by NewFailoverClusterClient must be allowed to ask for its database, "+
			"with CLIENT INFO", err)
	}
	number := databaseInInfo.FindStringSubmatch(info)
	if number == nil {
		return 0, errUnexpectedReply
	}
	return strconv.Atoi(number[1])
}

// controlClient returns a client of the same server with one connection of its own. A watch sends heartbeats and
// questions about the topology through it: they must not wait behind the loads that only their success keeps away. The
// caller closes it.
func controlClient(of *redis.Client) *redis.Client { return redis.NewClient(ownOptions(of)) }

// ownOptions returns the options for a client like another one, with one connection. It repeats nothing, and has none
// of the hooks and limiters.
func ownOptions(of *redis.Client) *redis.Options {
	opts := *of.Options()
	opts.PoolSize, opts.MaxActiveConns, opts.MaxIdleConns, opts.MinIdleConns = 1, 1, 1, 0
	opts.PipelinePoolSize = -1
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.Limiter = nil
	opts.ContextTimeoutEnabled = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opts.PushNotificationProcessor = nil
	opts.ClientSideCacheConfig, opts.ClientSideCache = nil, nil
	return &opts
}

// failoverAddr is the address in the options of a client that Sentinel tells where the master is.
const failoverAddr = "FailoverClient"

// masterNaming returns a function that asks where a client would send writes now, for a client that is told by others,
// Sentinel for one. It returns nil for every other client.
func masterNaming(base redis.UniversalClient) func(ctx context.Context) (address string, err error) {
	switch c := base.(type) {
	case *redis.Client:
		if c.Options().Addr == failoverAddr {
			return func(ctx context.Context) (string, error) { return dialedMaster(ctx, c) }
		}
	case *redis.ClusterClient:
		if realCluster(c) == nil {
			return func(ctx context.Context) (string, error) { return namedMaster(ctx, c) }
		}
	}
	return nil
}

// dialedMaster returns where a client of NewFailoverClient would connect to now.
func dialedMaster(ctx context.Context, client *redis.Client) (string, error) {
	opts := client.Options()
	conn, err := opts.Dialer(ctx, opts.Network, opts.Addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.RemoteAddr().String(), nil
}

// namedMaster returns the one master that the client's own ClusterSlots names. Several would be servers that know
// nothing of each other: when the function gives a slot to another one, its values are gone, or come back.
func namedMaster(ctx context.Context, client *redis.ClusterClient) (string, error) {
	slots, err := client.Options().ClusterSlots(ctx)
	if err != nil {
		return "", err
	}
	switch addresses := mastersOf(slots); len(addresses) {
	case 0:
		return "", errNoMasters
	case 1:
		return addresses[0], nil
	}
	return "", errSeveralMasters
}
