package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed34611480/session"
)

// TestLogOut logs a user out on one replica while a request of hers, and one of another user, are open on a second one.
func TestLogOut(t *testing.T) {
	remote := session.NewMemoryStorage(30 * time.Minute)
	one, two := session.NewRoutingStorage(remote, 100), session.NewRoutingStorage(remote, 100)
	defer func() { _, _ = one.Close(), two.Close() }()

	began, ended := make(chan string, 2), make(chan string, 2)
	handler := authenticated(two,
		func(token string) (string, error) {
			if token == "" {
				return "", errors.New("there is no token")
			}
			return session.Principal("issuer", token), nil
		},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			owner, err := ownerOf(r)
			if err != nil || owner == "" || r.Header.Get("Authorization") != "" {
				t.Errorf("owner %q, %v, headers %v", owner, err, r.Header)
			}
			began <- owner
			if r.Method == http.MethodGet {
				<-r.Context().Done()
				ended <- owner
			}
		}))
	serve := func(ctx context.Context, method, token string) int {
		r := httptest.NewRequestWithContext(ctx, method, "/mcp", nil)
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	for _, user := range []string{"alice", "bob"} {
		go func() {
			serve(ctx, http.MethodGet, user)
			done <- struct{}{}
		}()
		<-began
	}
	alice := session.Principal("issuer", "alice")
	if err := logOut(t.Context(), one, alice, time.Hour); err != nil {
		t.Fatal(err)
	}
	if owner := <-ended; owner != alice {
		t.Errorf("%q was cut", owner)
	}
	for user, want := range map[string]int{"alice": 401, "bob": 200, "": 401} {
		if got := serve(t.Context(), http.MethodPost, user); got != want {
			t.Errorf("%q: %d", user, got)
		}
	}
	select {
	case owner := <-ended:
		t.Errorf("%q was cut, too", owner)
	default:
	}
	cancel()
	<-done
	<-done
}
