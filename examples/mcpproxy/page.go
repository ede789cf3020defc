package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

//go:embed page.html
var pageHTML []byte

// page serves the live page, on loopback only.
func (l *live) page(ctx context.Context) (*http.Server, *url.URL, error) {
	server := &http.Server{Handler: l.handler(), ReadHeaderTimeout: 5 * time.Second}
	at, err := serve(ctx, server)
	return server, at, err
}

func (l *live) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
			"script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		_, _ = w.Write(pageHTML)
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(l.state())
	})
	mux.HandleFunc("POST /redis/{action}", func(w http.ResponseWriter, r *http.Request) {
		l.switched(w, r, "stop", "start", l.stopRedis)
	})
	mux.HandleFunc("POST /replicas/{number}/events/{action}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("number"))
		if err != nil || n < 1 || n > len(l.replicas) {
			http.NotFound(w, r)
			return
		}
		l.switched(w, r, "cut", "restore", func(cut bool) { l.cutEvents(n-1, cut) })
	})
	mux.HandleFunc("POST /sessions/{number}/delete", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("number")) // 0 is none
		if err := l.remove(r.Context(), n); err != nil {
			http.Error(w, "it could not be deleted", http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return ownPageOnly(mux)
}

// switched does what a button says that has two states.
func (l *live) switched(w http.ResponseWriter, r *http.Request, on, off string, do func(on bool)) {
	switch action := r.PathValue("action"); action {
	case on, off:
		do(action == on)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

// ownPageOnly keeps the pages of others in the user's browser out: their names may lead to loopback, and they may send
// forms.
func ownPageOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil || host != "127.0.0.1" && host != "localhost" ||
			r.Method != http.MethodGet && r.Header.Get("Origin") != "http://"+r.Host {
			http.Error(w, "this Host or Origin is not allowed", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// state is what the page shows. It has no ids.
type state struct {
	MaxStaleness int64          `json:"max_staleness_ms"`
	RedisUp      bool           `json:"redis_up"`
	Replicas     []replicaState `json:"replicas"`
	Sessions     []sessionState `json:"sessions"`
	News         []piece        `json:"news"`
}

type replicaState struct {
	Name     string `json:"name"`
	Mode     string `json:"mode"`
	Proof    int64  `json:"proof_ms"` // negative: there was none
	Hits     uint64 `json:"hits"`
	Loads    uint64 `json:"loads"`
	Events   uint64 `json:"events"`
	Commands uint64 `json:"commands"`
	Cut      bool   `json:"cut"`
}

type sessionState struct {
	Number  int      `json:"number"`
	Ended   bool     `json:"ended"`
	Answers []string `json:"answers"`
}

func (l *live) state() state {
	now := state{MaxStaleness: livePace.maxStaleness.Milliseconds(), RedisUp: !l.demo.store.isCut()}
	for _, r := range l.replicas {
		stats := r.sessions.Stats()
		proof := stats.ProofAge.Milliseconds()
		if stats.ProofAge < 0 {
			proof = -1
		}
		now.Replicas = append(now.Replicas, replicaState{
			Name: r.name, Mode: string(stats.Mode), Proof: proof, Hits: stats.Hits, Loads: stats.RemoteLoads,
			Events: stats.Events, Commands: r.load().commands(), Cut: r.line.eventsCut.Load(),
		})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now.News = append(now.News, l.news...)
	for _, s := range l.sessions {
		row := sessionState{Number: s.number, Ended: !s.ended.IsZero()}
		for _, a := range s.answers {
			row.Answers = append(row.Answers, a.text(row.Ended))
		}
		now.Sessions = append(now.Sessions, row)
	}
	return now
}

// text is a replica's answer in words.
func (a said) text(ended bool) string {
	switch {
	case a.after > 0:
		return "404 after " + brief(a.after)
	case a.status == 0:
		return "…"
	case a.status != http.StatusOK:
		return strconv.Itoa(a.status)
	case ended:
		return "old copy"
	}
	return "serves"
}
