package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

const (
	ttl        = 30 * time.Minute
	backendKey = "backend_url"
)

// fixture is the set of sessions that all designs load.
type fixture struct {
	ids      []string
	keys     []string // where a program without this library stores them, as plain JSON
	json     []string
	sessions []*session.Session
}

func newFixture(n int) *fixture {
	f := new(fixture)
	for range n {
		s := newSession(session.NewID())
		data, err := json.Marshal(s.Record())
		if err != nil {
			panic(err) // a Record can always be encoded
		}
		f.ids = append(f.ids, s.ID())
		f.keys = append(f.keys, "plain:"+s.ID())
		f.json = append(f.json, string(data))
		f.sessions = append(f.sessions, s)
	}
	return f
}

// newSession makes a session like one from a decoder: no two share any memory.
func newSession(id string) *session.Session {
	now := time.Now()
	return session.FromRecord(session.Record{
		ID: strings.Clone(id), Type: session.TypeStreamable, Principal: strings.Clone("https://issuer.example|user-1"),
		CreatedAt: now, UpdatedAt: now,
		Metadata: map[string]string{
			strings.Clone(backendKey):         strings.Clone("http://10.0.0.7:8080/mcp"),
			strings.Clone("client"):           strings.Clone("inspector 0.17.2"),
			strings.Clone("protocol_version"): strings.Clone("2025-11-25"),
		},
	})
}

// seed writes the sessions to Redis in both forms.
func (f *fixture) seed(ctx context.Context, client *redis.Client) error {
	storage := session.NewRedisStorage(client, ttl)
	for i, s := range f.sessions {
		if err := storage.Store(ctx, s.Detached()); err != nil {
			return err
		}
		if err := client.Set(ctx, f.keys[i], f.json[i], ttl).Err(); err != nil {
			return err
		}
	}
	return nil
}

var errWrong = errors.New("a wrong session was returned")

func (f *fixture) checkRecord(i int, r *session.Record) error {
	want, _ := f.sessions[i].Get(backendKey)
	if r.ID != f.ids[i] || r.Metadata[backendKey] != want {
		return errWrong
	}
	return nil
}

func (f *fixture) checkText(i int, text string) error {
	if text != f.json[i] {
		return errWrong
	}
	return nil
}

// checker checks returned sessions. It remembers those that it has checked, because comparing one again would take
// longer than loading it. It belongs to one goroutine.
type checker struct {
	fixture *fixture
	seen    []*session.Session
}

func (f *fixture) checker() *checker {
	return &checker{fixture: f, seen: make([]*session.Session, len(f.ids))}
}

func (c *checker) check(i int, s *session.Session) error {
	if s != nil && s == c.seen[i] {
		return nil
	}
	return c.look(i, s)
}

func (c *checker) look(i int, s *session.Session) error {
	if s == nil {
		return errWrong
	}
	got, want := s.Record(), c.fixture.sessions[i].Record()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return errWrong
	}
	c.seen[i] = s
	return nil
}
