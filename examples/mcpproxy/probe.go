package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// prober asks single replicas about a session, past the balancer.
type prober struct {
	transport *http.Transport
	sent      atomic.Int64
}

// probed is the session that a prober asks about.
type probed struct{ id, user string }

// verdict is a replica's answer.
type verdict struct {
	status     int
	text       string
	retryAfter string
}

// unavailable reports whether the answer is the one that an outage calls for.
func (v verdict) unavailable() bool {
	return v.status == http.StatusServiceUnavailable && v.retryAfter != ""
}

// finding is a verdict that await waited for.
type finding struct {
	verdict

	err       error
	replica   *replica
	after     time.Duration // since the given start
	before    int           // number of other verdicts before this one,
	lastOther time.Duration // and when the last of them was asked for
}

// said is a short form of the verdict.
func (f finding) said() string {
	if f.err != nil {
		return f.err.Error()
	}
	return strconv.Itoa(f.status)
}

// await asks all given replicas at once, repeatedly, until each gives a wanted verdict. Times count from start.
func (p *prober) await(
	ctx context.Context, replicas []*replica, of probed, start time.Time, wanted func(verdict) bool,
) []finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	findings := make([]finding, len(replicas))
	var all sync.WaitGroup
	for i, r := range replicas {
		all.Go(func() {
			f := finding{replica: r}
			for {
				asked := time.Since(start)
				f.verdict, f.err = p.ask(ctx, r, of)
				f.after = time.Since(start)
				if f.err != nil || wanted(f.verdict) {
					break
				}
				f.before++
				f.lastOther = asked
				time.Sleep(2 * time.Millisecond)
			}
			findings[i] = f
		})
	}
	all.Wait()
	return findings
}

// ask sends a ping of a session to one replica.
func (p *prober) ask(ctx context.Context, r *replica, of probed) (verdict, error) {
	ping := fmt.Sprintf(`{"jsonrpc":"2.0","id":"probe %d","method":"ping"}`, p.sent.Add(1))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url.String(), strings.NewReader(ping))
	if err != nil {
		return verdict{}, err
	}
	request.Header.Set("Mcp-Session-Id", of.id)
	request.Header.Set("Authorization", bearer(of.user))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	response, err := p.transport.RoundTrip(request)
	if err != nil {
		return verdict{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return verdict{response.StatusCode, strings.TrimSpace(string(text)), response.Header.Get("Retry-After")}, err
}
