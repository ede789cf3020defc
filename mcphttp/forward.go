package mcphttp

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp/internal/learn"
)

var (
	errGone      = errors.New("mcphttp: the backend is dead")
	errDown      = errors.New("mcphttp: the backend cannot be reached")
	errNoBackend = errors.New("mcphttp: no backend can be reached")
	errNoTask    = errors.New("mcphttp: unknown task")
	errTaken     = errors.New("mcphttp: another backend has a task with this id")
	errEncoded   = errors.New("mcphttp: the backend's answer is encoded, and has to be read")
)

// gatewayError is that of a backend which was reached, and has not answered.
type gatewayError struct{ cause error }

func (e gatewayError) Error() string { return "mcphttp: the backend does not answer" }
func (e gatewayError) Unwrap() error { return e.cause }

// forward answers a request by a backend.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	r, body, err := readWhole(r)
	x.body = body
	if err == nil && x.bound != byState {
		err = p.route(r, x)
	}
	if err != nil {
		p.failed(w, r, err)
		return
	}
	p.reverse.ServeHTTP(w, endToEnd(r))
}

// endToEnd returns a request whose headers mean nothing to this hop.
//
// A ReverseProxy drops each header that Connection names. (1) A client sends Connection: Mcp-Protocol-Version. (2) The
// proxy goes by that version, and checks no owner. (3) The backend gets no version, and begins a session of the legacy
// era. A header that middleware has set for the backend could be removed in the same way. Without Connection there is
// no Upgrade either: a server may ignore it, and what follows would be no MCP.
//
// A Transport sends a request with an Idempotency-Key again when the connection ends without an answer, and a server
// that does not know the header executes the call twice. The Transport looks for the canonical spelling only.
func endToEnd(r *http.Request) *http.Request {
	isHere := func(name string) bool { return len(r.Header[name]) > 0 }
	if !isHere("Connection") && !slices.ContainsFunc(repeating, isHere) {
		return r
	}
	r = r.WithContext(r.Context()) // a copy
	r.Header = r.Header.Clone()
	r.Header.Del("Connection")
	r.Header.Del("HTTP2-Settings")
	for _, name := range repeating {
		if isHere(name) {
			r.Header[lower(name)] = r.Header[name]
			delete(r.Header, name)
		}
	}
	return r
}

// repeating are the headers that let a Transport repeat a POST.
var repeating = []string{"Idempotency-Key", "X-Idempotency-Key"}

func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	x := exchangeOf(r.In.Context())
	x.url = r.Out.URL
	x.aim(r.Out)
	r.SetXForwarded()
	r.Out.Header.Del("Expect") // the body is here: a backend that does not answer it would cost a second
	if x.learns {
		r.Out.Header.Set("Accept-Encoding", "identity") // what is compressed cannot be read
	}
}

// hop is the way to the backends.
type hop struct{ *Proxy }

// RoundTrip implements [http.RoundTripper].
func (p hop) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	for out := r; ; {
		host := x.target.host()
		if x.bound == byState && p.health.isDead(host) {
			return nil, errGone
		}
		answer, err := x.send(out)
		if err == nil {
			p.health.taken(host)
			return onlyHTTP(answer)
		}
		if r.Context().Err() != nil {
			return nil, gatewayError{err}
		}
		if !isDial(err) {
			p.health.unanswered(host, err)
			return nil, gatewayError{err}
		}
		switch dead := p.health.failed(host, err); {
		case x.bound == byState && dead:
			return nil, errGone
		case x.bound != free:
			return nil, errDown
		}
		x.tried = append(x.tried, x.target.backend)
		if err := p.spread(x); err != nil {
			return nil, err
		}
		if out, err = again(r); err != nil {
			return nil, err
		}
		x.aim(out)
	}
}

// onlyHTTP refuses a backend's switch to another protocol, which no request has asked for.
func onlyHTTP(answer *http.Response) (*http.Response, error) {
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return answer, nil
	}
	_ = answer.Body.Close()
	return nil, gatewayError{http.ErrNotSupported}
}

// again returns a request of which nothing was sent, to be sent to another backend.
func again(r *http.Request) (*http.Request, error) {
	out := r.Clone(r.Context())
	if r.Body == nil || r.GetBody == nil {
		return out, nil
	}
	var err error
	out.Body, err = r.GetBody()
	return out, err
}

// answered sees the header of an answer before the client does.
func (p *Proxy) answered(answer *http.Response) error {
	ctx := answer.Request.Context()
	x := exchangeOf(ctx)
	if x.target.address == "" && x.target.backend.mayBeAt(x.dialled) {
		x.target.address = x.dialled
		if x.bound == byAffinity {
			p.keepAddress(ctx, x)
		}
	}
	if !x.learns || answer.StatusCode/100 != 2 {
		return nil
	}
	if err := decompress(answer); err != nil {
		return err
	}
	var failed error // to store a task
	found := func(task learn.Task) error {
		failed = p.keepTask(ctx, x, task)
		return failed
	}
	switch mediaType(answer.Header) {
	case eventsType:
		answer.Body = learn.Events(answer.Body, found)
	case jsonType:
		answer.Body = learn.JSON(answer.Body, found)
		if answer.ContentLength >= 0 && answer.ContentLength <= maxFirst {
			// A failure can be a 503 then, which is better than a broken answer.
			err := readFirst(answer)
			if err == nil || failed != nil || errors.Is(err, learn.ErrTooLong) {
				return err
			}
			return gatewayError{err}
		}
	}
	return nil
}

// decompress lets an answer be read that a backend has compressed although it was asked not to. If it cannot be read,
// it must not pass: it might announce a task that no replica knows.
func decompress(answer *http.Response) error {
	switch lower(strings.Join(answer.Header["Content-Encoding"], ",")) {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		answer.Header.Del("Content-Encoding")
		answer.Header.Del("Content-Length")
		answer.ContentLength = -1
		answer.Body = &gunzip{ReadCloser: answer.Body}
		return nil
	}
	return errEncoded
}

// gunzip is a body that was compressed. It waits for none of it before it is read.
type gunzip struct {
	io.ReadCloser

	plain *gzip.Reader
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	if g.plain == nil {
		if g.plain, err = gzip.NewReader(g.ReadCloser); err != nil {
			return 0, err
		}
	}
	return g.plain.Read(p)
}

const maxFirst = 64 << 10 // how long an answer may be that is read before its header leaves

func readFirst(answer *http.Response) error {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// failed answers a request in the place of a backend. An answer that was cut is corrected by [answers].
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch _, gateway := errors.AsType[gatewayError](err); {
	case errors.Is(err, errGone), errors.Is(err, errNoTask):
		if Modern(r) {
			refuseCall(w, exchangeOf(r.Context()).body, http.StatusNotFound, -32602, "unknown task")
			return
		}
		WriteError(w, session.ErrNotFound)
	case errors.Is(err, errMismatch):
		refuseCall(w, exchangeOf(r.Context()).body, http.StatusBadRequest, -32020, "the headers do not match the body")
	case errors.Is(err, errDown), errors.Is(err, errNoBackend):
		WriteError(w, session.ErrUnavailable)
	case errors.Is(err, errIncomplete):
		http.Error(w, "the request is incomplete", http.StatusBadRequest)
	case errors.Is(err, errEncoded):
		http.Error(w, "the backend has compressed an answer although it was asked not to", http.StatusBadGateway)
	case gateway, errors.Is(err, errTaken), errors.Is(err, learn.ErrTooLong):
		http.Error(w, "the backend does not answer", http.StatusBadGateway)
	default:
		p.fail(w, err)
	}
}

// refuseCall answers as a server does. In the modern era a 404 has a JSON-RPC error: clients would take a plain one for
// the end of a session, and they have none.
func refuseCall(w http.ResponseWriter, body []byte, status, code int, text string) {
	id := member(body, "id")
	if id == nil {
		id = json.RawMessage("null")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q}}`, id, code, text)
}

// quiet is for what a ReverseProxy says of each client that leaves.
var quiet = log.New(io.Discard, "", 0)

// buffers are those through which answers pass.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements [httputil.BufferPool].
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

// Put implements [httputil.BufferPool].
func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
