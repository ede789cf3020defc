package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// broadcast is what the events of other replicas cost.
type broadcast struct {
	Absorbed  series // events per second that one replica can take in
	Delivered []fanOut
}

// fanOut is the number of messages per second that one server delivers to its subscribers.
type fanOut struct {
	Subscribers int
	Rate        series
}

func measureBroadcast(ctx context.Context, c config, s *server) (broadcast, error) {
	var b broadcast
	for _, n := range []int{1, 10, 100} {
		b.Delivered = append(b.Delivered, fanOut{Subscribers: n})
	}
	for range c.rounds {
		rate, err := absorb(ctx, s, c.events)
		if err != nil {
			return b, err
		}
		b.Absorbed = append(b.Absorbed, rate)
		for i := range b.Delivered {
			f := &b.Delivered[i]
			rate, err := deliver(ctx, s, f.Subscribers, c.events/f.Subscribers)
			if err != nil {
				return b, err
			}
			f.Rate = append(f.Rate, rate)
		}
	}
	return b, nil
}

// absorb sends events about sessions that a replica does not have, because most events are of that kind.
func absorb(ctx context.Context, s *server, events int) (perSecond float64, err error) {
	r, closeBoth, err := env{server: s, speed: 1}.routing(localEntries)
	if err != nil {
		return 0, err
	}
	defer closeBoth()
	start := time.Now()
	if err := publish(ctx, s.admin, "session:!events:0", events); err != nil {
		return 0, err
	}
	for r.Stats().Events < uint64(events) { //nolint:gosec // not negative
		if time.Since(start) > time.Minute {
			return 0, fmt.Errorf("%d of %d events have arrived", r.Stats().Events, events)
		}
		time.Sleep(time.Millisecond)
	}
	return float64(events) / time.Since(start).Seconds(), nil
}

func publish(ctx context.Context, client *redis.Client, channel string, events int) error {
	const batch = 1000
	for sent := 0; sent < events; sent += batch {
		pipe := client.Pipeline()
		for range min(batch, events-sent) {
			pipe.Publish(ctx, channel, fmt.Sprintf("C%016x%s", sent+1, session.NewID()))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// deliver uses subscribers that only read, so that the server is what is measured.
func deliver(ctx context.Context, s *server, subscribers, events int) (perSecond float64, err error) {
	const channel = "bench:events"
	var wg sync.WaitGroup
	for range subscribers {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "SUBSCRIBE "+channel+"\r\n"); err != nil {
			return 0, err
		}
		confirmation := fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n", len(channel), channel)
		if _, err := io.ReadFull(conn, make([]byte, len(confirmation))); err != nil {
			return 0, err
		}
		total := int64(events * messageSize(len(channel), len(session.NewID())))
		wg.Go(func() { _, _ = io.CopyN(io.Discard, conn, total) })
	}
	start := time.Now()
	if err := publish(ctx, s.admin, channel, events); err != nil {
		return 0, err
	}
	wg.Wait()
	return float64(subscribers*events) / time.Since(start).Seconds(), nil
}

// messageSize is the size of a Changed event of an id on the wire.
func messageSize(channel, id int) int {
	payload := 1 + 16 + id
	return len(fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n\r\n$%d\r\n\r\n", channel, payload)) + channel + payload
}
