// Command standalone keeps sessions on one Redis server. Run it with -h for its flags.
package main

import (
	"context"
	"flag"
	"io"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed34611480/session/examples/topologies/internal/demo"
)

func main() { demo.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("standalone", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:6379", "`host:port` of the server")
	access := demo.AccessFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	tlsConfig, err := access.TLS()
	if err != nil {
		return err
	}
	// The reasons are in docs/operations.md.
	client := redis.NewClient(&redis.Options{
		Addr:                     *addr,
		Username:                 access.User,
		Password:                 access.Password,
		TLSConfig:                tlsConfig,
		ContextTimeoutEnabled:    true,
		DialTimeout:              time.Second,
		ReadTimeout:              time.Second,
		WriteTimeout:             time.Second,
		DialerRetries:            1,
		PoolSize:                 50,
		MinIdleConns:             5,
		ConnMaxIdleTime:          3 * time.Minute,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer func() { _ = client.Close() }()
	return demo.Show(ctx, client, out)
}
