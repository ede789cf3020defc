// Command sentinel keeps sessions on the master that Redis Sentinel names. Run it with -h for its flags.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/examples/topologies/internal/demo"
)

func main() { demo.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sentinel", flag.ExitOnError)
	sentinels := flags.String("sentinels", "127.0.0.1:26379", "`host:port,...` of the sentinels")
	master := flags.String("master", "mymaster", "the master's name in the sentinels")
	sentinelUser := flags.String("sentinel-user", os.Getenv("SENTINEL_USER"),
		"the ACL `name` on the sentinels, default $SENTINEL_USER; its password is $SENTINEL_PASSWORD")
	access := demo.AccessFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	tlsConfig, err := access.TLS()
	if err != nil {
		return err
	}
	// The reasons are in docs/operations.md.
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:            *master,
		SentinelAddrs:         strings.Split(*sentinels, ","),
		SentinelUsername:      *sentinelUser,
		SentinelPassword:      os.Getenv("SENTINEL_PASSWORD"),
		Username:              access.User,
		Password:              access.Password,
		TLSConfig:             tlsConfig,
		ContextTimeoutEnabled: true,
		DialTimeout:           time.Second,
		ReadTimeout:           time.Second,
		WriteTimeout:          time.Second,
		DialerRetries:         1,
		PoolSize:              50,
		MinIdleConns:          5,
		ConnMaxIdleTime:       3 * time.Minute,
		DisableIdentity:       true,
	})
	defer func() { _ = client.Close() }()
	return demo.Show(ctx, client, out)
}
