package requeststate_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

// Keys instead of a storage: the client carries the state, sealed. Once makes sure that it is used once, which needs a
// storage for what was used.
func ExampleNewSealed() {
	secret := make([]byte, 32) // of where the service keeps its secrets; the same on all replicas
	_, _ = rand.Read(secret)   // never fails
	ring, err := session.NewKeyRing(session.Key{ID: "2026-11", Secret: secret})
	if err != nil {
		panic(err)
	}
	remote := session.NewMemoryStorage(30 * time.Minute) // or a RedisStorage
	guard := requeststate.NewSealed(ring, requeststate.Once(remote))

	ctx := context.Background()
	binding := requeststate.Binding{
		Principal: session.Principal("https://issuer.example", "alice"), // of the verified token of this request
		Method:    "tools/call",
		Name:      "deploy",
		Arguments: json.RawMessage(`{"instances":3}`),
	}
	requestState, err := guard.Seal(ctx, binding, []byte("asked"))
	if err != nil {
		panic(err)
	}
	state, err := guard.Open(ctx, binding, requestState)
	fmt.Println(string(state), err)
	_, err = guard.Open(ctx, binding, requestState)
	fmt.Println(errors.Is(err, requeststate.ErrRejected))
	// Output:
	// asked <nil>
	// true
}
