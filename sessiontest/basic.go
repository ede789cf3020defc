package sessiontest

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed34611480/session"
)

var basicCases = []testCase{
	{"RoundTrip", roundTrip},
	{"Overwrite", overwrite},
	{"Absent", absent},
	{"Delete", deleteOne},
}

// roundTrip: Load returns every field as it was stored.
func roundTrip(e *env) {
	allBytes := make([]byte, 256)
	for i := range allBytes {
		allBytes[i] = byte(i)
	}
	instant := time.Date(2001, 2, 3, 4, 5, 6, 789012000, time.UTC)
	endOfTime := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprintf("key-%03d", i)] = strings.Repeat("v", i%7)
	}
	for _, c := range []struct {
		name   string
		record session.Record
	}{
		{"id only", session.Record{}},
		{"every field", session.Record{
			Type: session.TypeSSE, Principal: "https://issuer.example|user-1",
			CreatedAt: instant, UpdatedAt: instant.Add(time.Microsecond),
			ExpiresAt: time.Now().Add(24*time.Hour + 123456*time.Microsecond), IdleTimeout: 12345 * time.Second,
			Metadata: map[string]string{"backend_url": "http://10.0.0.7:8080/mcp"}, Data: []byte(`{"calls":1}`),
		}},
		{"unicode", session.Record{
			Type: "größe", Principal: "発行者|ユーザー 🗝",
			Metadata: map[string]string{"ключ": "значение", "e\u0301": "decomposed", "\u00e9": "composed", "rtl": "\u202eabc"},
		}},
		{"awkward text", session.Record{
			Principal: "\x00\x01 <&> \u2028 \ufffd \r\n\t",
			Metadata: map[string]string{
				"": "empty key", "empty value": "", "\x00": "\x00", `"'\{}`: `{"a":[1,null]}`, "NULL": "null",
			},
		}},
		{"binary data", session.Record{Data: allBytes}},
		{"invalid UTF-8 data", session.Record{Data: []byte("\xff\xfe\xc0\x80")}},
		{"much metadata", session.Record{Metadata: many}},
		{"end of time", session.Record{CreatedAt: endOfTime, UpdatedAt: endOfTime, ExpiresAt: endOfTime}},
		{"beginning of time", session.Record{
			CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0), ExpiresAt: endOfTime,
		}},
		{"no idle time-out", session.Record{ExpiresAt: endOfTime, IdleTimeout: session.NoIdleTimeout}},
		{"longest idle time-out", session.Record{ExpiresAt: endOfTime, IdleTimeout: math.MaxInt64}},
		{"shortest step of an idle time-out", session.Record{IdleTimeout: time.Hour + time.Millisecond}},
	} {
		c.record.ID = e.secret(session.NewID())
		s := session.FromRecord(c.record)
		if err := e.Storage.Store(e.ctx, s); err != nil {
			e.Errorf("%s: Store: %v", c.name, err)
			continue
		}
		e.same(c.name+": loaded session", e.load(s.ID()), s)
		// A caching storage may have answered from memory. A read through the other instance cannot.
		if e.Peer != nil {
			e.same(c.name+": session loaded through the peer", e.loadFrom(e.Peer, s.ID()), s)
		}
	}
}

// overwrite: Load returns the later of two states, with nothing of the earlier one left in it.
func overwrite(e *env) {
	s := e.stored()
	bare := session.New(s.ID())
	e.store(bare)
	e.same("overwritten session", e.load(s.ID()), bare)

	full := e.load(s.ID()).With("a", "1").WithData([]byte("data"))
	e.store(full)
	less := full.Without("a").WithData(nil)
	e.store(less)
	e.same("session with a value and its data removed", e.load(s.ID()), less)
}

// absent: an id that was never stored is not found.
func absent(e *env) {
	e.stored()
	e.gone(e.secret(session.NewID()), "of an id that was never stored")
}

// deleteOne: Delete removes that one session, and may be repeated.
func deleteOne(e *env) {
	s, other := e.stored(), e.stored()
	e.delete(s.ID())
	e.gone(s.ID(), "after Delete")
	e.untouched("Delete of another session", other)

	if err := e.Storage.Delete(e.ctx, s.ID()); err != nil {
		e.Errorf("Delete of a deleted session: %v", err)
	}
	if err := e.Storage.Delete(e.ctx, e.secret(session.NewID())); err != nil {
		e.Errorf("Delete of a session that was never stored: %v", err)
	}
	again := session.New(s.ID())
	e.store(again)
	e.untouched("storing a new session under the id of a deleted one", again)
}
