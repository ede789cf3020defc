package mcphttp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

const (
	benchClients  = 8
	benchRequests = 100 // of each client in a round
	benchEvents   = 20  // of a stream
)

// BenchmarkProxy compares with a bare ReverseProxy that has one backend, body and transport the same, and with a Proxy
// whose storage is asked for each request. They take turns, a round each. The ratios are those of rounds: the median,
// the least and the greatest.
func BenchmarkProxy(b *testing.B) {
	for name, answer := range map[string]http.HandlerFunc{"call": answerCall, "stream": answerStream} {
		b.Run(name, func(b *testing.B) { benchProxy(b, answer) })
	}
}

func benchProxy(b *testing.B, answer http.HandlerFunc) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get(sessionHeader) == "" {
			w.Header().Set(sessionHeader, session.NewID())
			return
		}
		answer(w, r)
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(b, err)
	remote := session.NewRedisStorage(redistest.Start(b).Client(b), time.Hour)
	routing := session.NewRoutingStorage(remote, 1000)
	defer func() { require.NoError(b, routing.Close()) }()
	bare := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: defaultTransport(),
		ErrorLog:  quiet,
	}
	handlers := []http.Handler{
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex() // or some of its streams are cut, see readWhole
			bare.ServeHTTP(w, r)
		}),
		NewProxy(routing, []*url.URL{target}),
		NewProxy(remote, []*url.URL{target}),
	}
	names := []string{"bare", "Proxy", "GETEX"}
	ways := make([]*way, len(handlers))
	for i, handler := range handlers {
		ways[i] = newWay(b, names[i], handler)
		ways[i].round(b) // to warm up
	}
	for b.Loop() {
		for i := range ways {
			w := ways[(i+b.N)%len(ways)]
			rate, p99 := w.round(b)
			w.rates, w.p99s = append(w.rates, rate), append(w.p99s, p99)
		}
	}
	b.ReportMetric(0, "ns/op") // a round is no unit
	for i, name := range names {
		b.ReportMetric(median(ways[i].rates), name+"/s")
		if i == 0 {
			continue
		}
		report(b, name+"-rate/bare", ways[i].rates, ways[0].rates)
		report(b, name+"-p99/bare", ways[i].p99s, ways[0].p99s)
	}
}

func report(b *testing.B, name string, values, bare []float64) {
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / bare[i]
	}
	b.ReportMetric(median(ratios), name)
	b.ReportMetric(slices.Min(ratios), name+"-min")
	b.ReportMetric(slices.Max(ratios), name+"-max")
}

func median(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

func answerCall(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}`)
}

func answerStream(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	for i := range benchEvents {
		_, _ = fmt.Fprintf(w, `data: {"jsonrpc":"2.0","method":"progress","params":{"n":%d}}`+"\n\n", i)
		_ = control.Flush()
	}
}

// way is one way to the backend, with a session for each client.
type way struct {
	name, url   string
	client      *http.Client
	ids         []string
	rates, p99s []float64
}

func newWay(b *testing.B, name string, handler http.Handler) *way {
	front := httptest.NewServer(handler)
	b.Cleanup(front.Close)
	connections := &http.Transport{MaxIdleConnsPerHost: benchClients}
	w := &way{name: name, url: front.URL, client: &http.Client{Transport: connections}}
	b.Cleanup(w.client.CloseIdleConnections)
	for range benchClients {
		id, _ := begin(b, front.URL)
		w.ids = append(w.ids, id)
	}
	return w
}

// round returns requests per second, and the 99th percentile of their times.
func (w *way) round(b *testing.B) (rate, p99 float64) {
	times := make([][]time.Duration, benchClients)
	began := time.Now()
	var all sync.WaitGroup
	for i, id := range w.ids {
		all.Go(func() {
			for range benchRequests {
				began := time.Now()
				if err := w.request(b, id); err != nil {
					b.Error(w.name, err)
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	all.Wait()
	rate = benchClients * benchRequests / time.Since(began).Seconds()
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	return rate, float64(sorted[len(sorted)*99/100])
}

func (w *way) request(b *testing.B, id string) error {
	body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello"}}`)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, w.url, body)
	if err != nil {
		return err
	}
	r.Header.Set(sessionHeader, id)
	answer, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
