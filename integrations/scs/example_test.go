package scsstore_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/seed34611480/session"
	scsstore "github.com/seed34611480/session/integrations/scs"
)

// A web app whose users stay logged in for 20 minutes without a request, and for 12 hours at most.
func Example() {
	storage := session.NewMemoryStorage(30 * time.Minute) // or a RoutingStorage in front of Redis

	sessions := scs.New()
	sessions.IdleTimeout = 20 * time.Minute
	sessions.Lifetime = 12 * time.Hour
	sessions.Store = scsstore.New(storage)
	sessions.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		// 503 in an outage: users keep their sessions. Log err, it has no secrets.
		http.Error(w, "try again", session.HTTPStatus(err))
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.RenewToken(r.Context()); err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		sessions.Put(r.Context(), "user", "alice")
		fmt.Fprint(w, "welcome")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", sessions.GetString(r.Context(), "user"))
	})
	app := httptest.NewServer(sessions.LoadAndSave(mux))
	defer app.Close()

	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar}
	for _, path := range []string{"/login", "/"} {
		response, err := browser.Get(app.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		page, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Println(response.StatusCode, string(page))
	}
	// Output:
	// 200 welcome
	// 200 hello alice
}
