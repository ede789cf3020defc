package redistest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// each calls f for every running server, up to the first error.
func each(servers []*Server, f func(context.Context, *redis.Client) error) error {
	for _, s := range servers {
		if !s.running() {
			continue
		}
		if err := s.admin(f); err != nil {
			return fmt.Errorf("%s: %w", s.Addr(), err)
		}
	}
	return nil
}

// expect returns an error unless the answer contains all the lines.
func expect(answer *redis.StringCmd, lines ...string) error {
	text, err := answer.Result()
	if err != nil {
		return err
	}
	for _, line := range lines {
		if !slices.Contains(strings.Split(text, "\r\n"), line) {
			return fmt.Errorf("missing %s in:\n%s", line, text)
		}
	}
	return nil
}

func isMaster(ctx context.Context, client *redis.Client) (bool, error) {
	role, err := client.Do(ctx, "ROLE").Slice()
	return err == nil && role[0] == "master", err
}

func find(servers []*Server, addr string) (*Server, error) {
	i := slices.IndexFunc(servers, func(s *Server) bool { return s.Addr() == addr })
	if i < 0 {
		return nil, fmt.Errorf("no server has the address %s", addr)
	}
	return servers[i], nil
}
