package main

import (
	"context"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/seed34611480/session"
)

// The users of the demo.
const (
	ann   = "ann"
	bob   = "bob"
	guest = "guest" // who sends no token, so that any client can try the demo

	issuer = "https://issuer.example"
)

// principal is how a user is known to storages.
func principal(user string) string { return session.Principal(issuer, user) }

// verify takes a token for the name of its user. A real one checks a signature.
func verify(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	return &auth.TokenInfo{
		UserID: token, Expiration: time.Now().Add(time.Hour), Extra: map[string]any{"iss": issuer},
	}, nil
}

// orGuest lets those in who send no token.
func orGuest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", bearer(guest))
		}
		next.ServeHTTP(w, r)
	})
}

func bearer(user string) string { return "Bearer " + user }

// as returns an HTTP client of a user.
func as(user string, transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: userTransport{user, transport}}
}

type userTransport struct {
	user string
	next http.RoundTripper
}

func (t userTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", bearer(t.user))
	return t.next.RoundTrip(r)
}
