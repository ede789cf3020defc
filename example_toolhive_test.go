package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seed34611480/session"
)

// DataStorage has the methods of the interface of that name in ToolHive (pkg/transport/session). See
// docs/migration/toolhive.md.
type DataStorage interface {
	Create(ctx context.Context, id string, metadata map[string]string) (bool, error)
	Update(ctx context.Context, id string, metadata map[string]string) (bool, error)
	Load(ctx context.Context, id string) (map[string]string, error)
	Delete(ctx context.Context, id string) error
	Close() error
}

// ErrSessionNotFound stands for the error of that name in ToolHive.
var ErrSessionNotFound = errors.New("session not found")

// dataStorage is a DataStorage on any storage of this package that is a Creator and a Replacer.
type dataStorage struct {
	sessions interface {
		session.Storage
		session.Creator
		session.Replacer
	}
	close func() error
}

var _ DataStorage = dataStorage{}

// Create is SET NX: the answer is false when there is a session with that id.
func (d dataStorage) Create(ctx context.Context, id string, metadata map[string]string) (bool, error) {
	err := d.sessions.Create(ctx, session.New(id).WithMetadata(metadata))
	if errors.Is(err, session.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// Update is SET XX: the answer is false when there is no such session, which stays so.
func (d dataStorage) Update(ctx context.Context, id string, metadata map[string]string) (bool, error) {
	err := d.sessions.Replace(ctx, session.New(id).WithMetadata(metadata))
	if errors.Is(err, session.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Load is GETEX, and normally local. The map is the caller's.
func (d dataStorage) Load(ctx context.Context, id string) (map[string]string, error) {
	s, err := d.sessions.Load(ctx, id)
	if errors.Is(err, session.ErrNotFound) {
		return nil, ErrSessionNotFound
	}
	if err != nil {
		return nil, err // an outage: not the end of the session
	}
	return maps.Collect(s.Metadata()), nil
}

func (d dataStorage) Delete(ctx context.Context, id string) error { return d.sessions.Delete(ctx, id) }

func (d dataStorage) Close() error { return d.close() }

// ToolHive's interface on a RoutingStorage.
func ExampleReplacer() {
	ctx := context.Background()
	remote := session.NewMemoryStorage(30 * time.Minute) // there: session.NewRedisStorage(client, cfg.SessionTTL, ...)
	sessions := session.NewRoutingStorage(remote, 10_000)
	var storage DataStorage = dataStorage{sessions, sessions.Close}
	defer storage.Close()

	fmt.Println(storage.Create(ctx, "3f2c", map[string]string{}))
	fmt.Println(storage.Create(ctx, "3f2c", map[string]string{}))
	fmt.Println(storage.Update(ctx, "3f2c", map[string]string{"backend": "github"}))
	fmt.Println(storage.Load(ctx, "3f2c"))

	fmt.Println(storage.Delete(ctx, "3f2c"))
	fmt.Println(storage.Update(ctx, "3f2c", map[string]string{"backend": "github"}))
	fmt.Println(storage.Load(ctx, "3f2c"))
	// Output:
	// true <nil>
	// false <nil>
	// true <nil>
	// map[backend:github] <nil>
	// <nil>
	// false <nil>
	// map[] session not found
}
