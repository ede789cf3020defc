// Command cluster keeps sessions on a Redis Cluster. Run it with -h for its flags.
package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed34611480/session/examples/topologies/internal/demo"
)

func main() { demo.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	addrs := flags.String("addrs", "127.0.0.1:7000", "`host:port,...` of some nodes; the others are found through them")
	access := demo.AccessFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	tlsConfig, err := access.TLS()
	if err != nil {
		return err
	}
	// The reasons are in docs/operations.md.
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                      strings.Split(*addrs, ","),
		Username:                   access.User,
		Password:                   access.Password,
		TLSConfig:                  tlsConfig,
		ContextTimeoutEnabled:      true,
		DialTimeout:                time.Second,
		ReadTimeout:                time.Second,
		WriteTimeout:               time.Second,
		DialerRetries:              1,
		PoolSize:                   50, // for each node
		MinIdleConns:               5,
		ConnMaxIdleTime:            3 * time.Minute,
		ClusterStateReloadInterval: time.Second,
		DisableIdentity:            true,
		MaintNotificationsConfig:   &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer func() { _ = client.Close() }()
	return demo.Show(ctx, client, out)
}
