package session_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// newKey makes a key that lives as long as the process. A service reads its keys from where it keeps secrets, and all
// replicas have the same.
func newKey(id string) session.Key {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return session.Key{ID: id, Secret: secret}
}

// What Redis holds says nothing about a session, and cannot be changed unnoticed. Keys and events have no usable id.
func ExampleNewSealedCodec() {
	ring, err := session.NewKeyRing(newKey("2026-11"), newKey("2026-05")) // the first one seals, both open
	if err != nil {
		panic(err)
	}
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	sessions := session.NewRedisStorage(client, 30*time.Minute,
		session.WithCodec(session.NewSealedCodec(ring, session.JSONCodec{})), session.WithHashedIDs())

	ctx := context.Background()
	if err := sessions.Store(ctx, session.New("3f2c").With("backend_url", "http://10.0.0.7:8080")); err != nil {
		panic(err)
	}
	dump := server.Dump()
	fmt.Println("Redis shows the id:", strings.Contains(dump, "3f2c"))
	fmt.Println("Redis shows the backend:", strings.Contains(dump, "10.0.0.7"))
	loaded, err := sessions.Load(ctx, "3f2c")
	fmt.Println(loaded.Get("backend_url"))
	fmt.Println(err)
	// Output:
	// Redis shows the id: false
	// Redis shows the backend: false
	// http://10.0.0.7:8080 true
	// <nil>
}

// A cookie that only this service can make, and that is worth nothing for another user.
func ExampleKeyRing_Sealer() {
	ring, err := session.NewKeyRing(newKey("2026-11"))
	if err != nil {
		panic(err)
	}
	cookies := ring.Sealer("example/return-to") // once, when the service starts
	sealed := cookies.Seal([]byte("/orders/17"), []byte("alice"))

	path, err := cookies.Open(sealed, []byte("alice"))
	fmt.Println(string(path), err)
	_, err = cookies.Open(sealed, []byte("mallory"))
	fmt.Println(errors.Is(err, session.ErrCorrupt))
	// Output:
	// /orders/17 <nil>
	// true
}

// compressed is a codec that compresses what another one has encoded.
type compressed struct{ session.Codec }

func (c compressed) Encode(s *session.Session) ([]byte, error) {
	plain, err := c.Codec.Encode(s)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

func (c compressed) Decode(data []byte) (*session.Session, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, 1<<20)) // a session is not larger
	if err != nil {
		return nil, err
	}
	return c.Codec.Decode(plain)
}

// A codec of one's own: here one that compresses.
func ExampleWithCodec() {
	addr, stop := startRedis()
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	defer client.Close()
	sessions := session.NewRedisStorage(client, 30*time.Minute, session.WithCodec(compressed{session.JSONCodec{}}))

	ctx := context.Background()
	if err := sessions.Store(ctx, session.New("3f2c").With("notes", strings.Repeat("again and ", 1000))); err != nil {
		panic(err)
	}
	size := client.StrLen(ctx, "session: 3f2c").Val()
	fmt.Println("less than 1,000 bytes:", size < 1000)
	loaded, err := sessions.Load(ctx, "3f2c")
	notes, _ := loaded.Get("notes")
	fmt.Println(len(notes), err)
	// Output:
	// less than 1,000 bytes: true
	// 10000 <nil>
}
