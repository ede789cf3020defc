package requeststate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

// A tool that asks its user before it deploys: first it gets the call alone, then, perhaps on another replica, the same
// call with the state that it has given to the client.
func Example() {
	remote := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share
	guard := requeststate.NewStored(remote, requeststate.WithLifetime(5*time.Minute))

	call := func(user, arguments, requestState string) string {
		ctx := context.Background()
		binding := requeststate.Binding{
			Principal: session.Principal("https://issuer.example", user), // of the verified token of this request
			Method:    "tools/call",
			Name:      "deploy",
			Arguments: json.RawMessage(arguments),
		}
		if requestState == "" {
			requestState, err := guard.Seal(ctx, binding, []byte("asked"))
			if err != nil {
				return err.Error()
			}
			return requestState // beside the question to the user
		}
		state, err := guard.Open(ctx, binding, requestState)
		if errors.Is(err, requeststate.ErrRejected) {
			return err.Error() // an error -32602; requeststate.Reason(err) is for the log
		}
		return "deployed, after the state was: " + string(state)
	}

	state := call("alice", `{"to":"production","instances":3}`, "")
	fmt.Println(call("mallory", `{"to":"production","instances":3}`, state))
	fmt.Println(call("alice", `{"to":"production","instances":300}`, state))
	fmt.Println(call("alice", `{"instances":3.0,"to":"production"}`, state))
	fmt.Println(call("alice", `{"to":"production","instances":3}`, state))
	// Output:
	// requeststate: rejected
	// requeststate: rejected
	// deployed, after the state was: asked
	// requeststate: rejected
}
