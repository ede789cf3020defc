package learn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

const task = `{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t1","status":"working","ttlMs":60000}}`

func none() []Task { return nil }

func one(id string) []Task { return []Task{{ID: id}} }

func TestTasksAreFound(t *testing.T) {
	t.Parallel()
	minute := []Task{{ID: "t1", TTL: time.Minute}}
	result := func(members string) string { return `{"jsonrpc":"2.0","id":1,"result":{` + members + `}}` }
	events := func(lines ...string) string { return strings.Join(lines, "\n") + "\n\n" }
	for name, c := range map[string]struct {
		json, events string
		want         []Task
	}{
		"a task":                   {json: task, want: minute},
		"members in another order": {json: `{"result":{"taskId":"t1","resultType":"task"},"id":1}`, want: one("t1")},
		"spaces": {
			json: " {\n\"result\" :\t{ \"resultType\" : \"task\" , \"taskId\" : \"t1\" } } ", want: one("t1"),
		},
		"a result of a tool": {json: result(`"resultType":"complete","taskId":"t1"`), want: none()},
		"no resultType":      {json: result(`"taskId":"t1"`), want: none()},
		"no taskId":          {json: result(`"resultType":"task"`), want: none()},
		"empty taskId":       {json: result(`"resultType":"task","taskId":""`), want: none()},
		"in structuredContent": {
			json: result(`"structuredContent":{"resultType":"task","taskId":"t1"}`), want: none(),
		},
		"in a structuredContent named result": {
			json: result(`"result":{"resultType":"task","taskId":"t1"}`), want: none(),
		},
		"in a text": {
			json: result(`"content":[{"text":"{\"result\":{\"resultType\":\"task\",\"taskId\":\"t1\"}}"}]`), want: none(),
		},
		"as mcp-go says it": {
			json: result(`"resultType":"complete","task":{"taskId":"t1","status":"working","ttl":60000},"content":[]`),
			want: minute,
		},
		"as mcp-go says it, unlimited": {
			json: result(`"task":{"ttl":null,"x":{"taskId":"t2"},"taskId":"t1"}`),
			want: []Task{{ID: "t1", TTL: longest * time.Millisecond}},
		},
		"as both say it": {
			json: result(`"task":{"taskId":"t2"},"resultType":"task","taskId":"t1"`), want: one("t1"),
		},
		"members of the other": {json: result(`"ttl":60000,"resultType":"task","taskId":"t1"`), want: one("t1")},
		"the second task":      {json: result(`"task":{"taskId":"t1"},"task":{"ttl":60000}`), want: none()},
		"a list of tasks":      {json: result(`"task":[{"taskId":"t1"}],"tasks":[{"taskId":"t2"}]`), want: none()},
		"a task below a task":  {json: result(`"task":{"task":{"taskId":"t1"}}`), want: none()},
		"a task elsewhere": {
			json: result(`"structuredContent":{"task":{"taskId":"t1"}},"_meta":{"taskId":"t1"}`), want: none(),
		},
		"a task in no result": {json: `{"task":{"taskId":"t1"},"params":{"task":{"taskId":"t1"}}}`, want: none()},
		"in an array":         {json: result(`"content":["resultType","task",["taskId","t1"]]`), want: none()},
		"result is an array":  {json: `{"result":["resultType","task","taskId","t1"]}`, want: none()},
		"in params": {
			json: `{"method":"m","params":{"resultType":"task","taskId":"t1","result":{"resultType":"task","taskId":"t1"}}}`,
			want: none(),
		},
		"beside the result": {json: `{"resultType":"task","taskId":"t1","result":{}}`, want: none()},
		"split over both":   {json: `{"resultType":"task","result":{"taskId":"t1"}}`, want: none()},
		"a batch":           {json: "[" + task + "]", want: none()},
		"escaped names": {
			json: `{"res\u0075lt":{"result\u0054ype":"t\u0061sk","task\u0049d":"t\u00311\n\"\\"}}`, want: one("t11\n\"\\"),
		},
		"not ASCII":           {json: result(`"resultType":"task","taskId":"ü\u00fc\ud83d\ude00"`), want: one("üü😀")},
		"a number as id":      {json: result(`"resultType":"task","taskId":17`), want: none()},
		"an object as id":     {json: result(`"resultType":"task","taskId":{"taskId":"t1"}`), want: none()},
		"the second id":       {json: result(`"resultType":"task","taskId":"t1","taskId":"t2"`), want: one("t2")},
		"the second is no id": {json: result(`"resultType":"task","taskId":"t1","taskId":null`), want: none()},
		"the second result": {
			json: `{"result":{"resultType":"task","taskId":"t1"},"result":{"resultType":"complete"}}`, want: none(),
		},
		"the second type": {json: result(`"resultType":"task","resultType":"complete","taskId":"t1"`), want: none()},
		"things before": {
			json: result(`"_meta":{"a":[1,{"b":"}]\""}]},"resultType":"task","x":[[],{}],"taskId":"t1"`), want: one("t1"),
		},
		"a TTL with an exponent": {json: result(`"ttlMs":6e4,"resultType":"task","taskId":"t1"`), want: minute},
		"no TTL":                 {json: result(`"resultType":"task","taskId":"t1"`), want: one("t1")},
		"an unlimited TTL": {
			json: result(`"ttlMs":null,"resultType":"task","taskId":"t1"`),
			want: []Task{{ID: "t1", TTL: longest * time.Millisecond}},
		},
		"a negative TTL": {json: result(`"ttlMs":-1,"resultType":"task","taskId":"t1"`), want: one("t1")},
		"a huge TTL": {
			json: result(`"ttlMs":1e300,"resultType":"task","taskId":"t1"`),
			want: []Task{{ID: "t1", TTL: longest * time.Millisecond}},
		},
		"the second TTL": {json: result(`"ttlMs":5,"ttlMs":60000,"resultType":"task","taskId":"t1"`), want: minute},
		"not complete":   {json: task[:len(task)-1], want: none()},
		"a mark":         {json: byteOrderMark + task, want: minute},
		"no JSON":        {json: `]{"result":{"resultType":"task","taskId":"t1"}}`, want: none()},

		"an event":        {events: events("event: message", "id: 1", "data: "+task), want: minute},
		"a mark before":   {events: byteOrderMark + events("data: "+task), want: minute},
		"a mark later":    {events: events(": ping", byteOrderMark+"data: "+task), want: none()},
		"half a mark":     {events: byteOrderMark[:2] + events("data: "+task), want: none()},
		"no space":        {events: events("data:" + task), want: minute},
		"no blank line":   {events: "data: " + task, want: minute},
		"split lines":     {events: events("data: "+task[:24], "data: "+task[24:34], "data:"+task[34:]), want: minute},
		"empty data line": {events: events("data", "data: "+task), want: minute},
		"a line end in a text": {
			events: events(`data: {"result":{"resultType":"task","taskId":"t`, `data: 1"}}`), want: none(),
		},
		"other fields between": {events: events("data: "+task[:34], ": ping", "id: 7", "data: "+task[34:]), want: minute},
		"another field":        {events: events("datum: "+task, "dat: "+task, "data2: "+task, " data: "+task), want: none()},
		"a comment":            {events: events(":data: " + task), want: none()},
		"split events":         {events: events("data: "+task[:34]) + events("data: "+task[34:]), want: none()},
		"after an open event":  {events: events("data: {{[\"") + events("data: "+task), want: minute},
		"after notifications": {
			events: events(`data: {"method":"notifications/progress","params":{}}`) + events("data: "+task), want: minute,
		},
		"two tasks": {
			events: events("data: "+task) + events(`data: {"result":{"resultType":"task","taskId":"t2"}}`),
			want:   []Task{{ID: "t1", TTL: time.Minute}, {ID: "t2"}},
		},
		"two messages in one event": {events: events("data: "+task, "data: "+task), want: minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.events == "" {
				requireTasks(t, false, c.json, c.want)
				c.events = "data: " + strings.ReplaceAll(c.json, "\n", "\ndata: ") + "\n\n"
				if name == "no JSON" || name == "not complete" {
					return
				}
			}
			requireTasks(t, true, c.events, c.want)
			requireTasks(t, true, strings.ReplaceAll(c.events, "\n", "\r\n"), c.want)
			requireTasks(t, true, strings.ReplaceAll(c.events, "\n", "\r"), c.want)
		})
	}
}

// requireTasks checks what is found in a body, in one piece and in single bytes.
func requireTasks(t *testing.T, events bool, body string, want []Task) {
	t.Helper()
	for _, pieces := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
	} {
		passed, got, err := read(events, pieces(strings.NewReader(body)))
		require.NoError(t, err)
		require.Equal(t, body, passed)
		require.Equal(t, want, got)
	}
}

func read(events bool, body io.Reader) (passed string, tasks []Task, err error) {
	kind := JSON
	if events {
		kind = Events
	}
	r := kind(io.NopCloser(body), func(task Task) error {
		tasks = append(tasks, task)
		return nil
	})
	b, err := io.ReadAll(r)
	return string(b), tasks, err
}

func TestNoCompleteMessageBeforeItIsLearnt(t *testing.T) {
	t.Parallel()
	failure := errors.New("not stored")
	for name, c := range map[string]struct {
		kind         func(io.ReadCloser, func(Task) error) *Reader
		body, passed string
	}{
		"JSON":   {JSON, task, task[:len(task)-1]},
		"events": {Events, "data: {}\n\ndata: " + task + "\n\n", "data: {}\n\ndata: " + task[:len(task)-1]},
	} {
		for _, pieces := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
		} {
			calls := 0
			r := c.kind(io.NopCloser(pieces(strings.NewReader(c.body))), func(Task) error {
				calls++
				return failure
			})
			passed, err := io.ReadAll(r)
			require.ErrorIs(t, err, failure, name)
			require.Equal(t, c.passed, string(passed), name)
			_, err = r.Read(make([]byte, 100))
			require.ErrorIs(t, err, failure, "for good")
			require.Equal(t, 1, calls)
		}
	}
}

func TestLongIDIsRefused(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]error{maxText: nil, maxText + 1: ErrTooLong} {
		body := fmt.Sprintf(`{"result":{"taskId":%q,"resultType":"task"}}`, strings.Repeat("x", length))
		_, tasks, err := read(false, strings.NewReader(body))
		require.ErrorIs(t, err, want)
		require.Equal(t, want == nil, len(tasks) == 1)
		body = strings.Replace(body, `"task"`, `"complete"`, 1)
		_, _, err = read(false, strings.NewReader(body))
		require.NoError(t, err, "only where it matters")
	}
}

func TestCloseClosesTheBody(t *testing.T) {
	t.Parallel()
	body := new(closer)
	require.NoError(t, JSON(body, nil).Close())
	require.True(t, body.closed)
}

type closer struct {
	bytes.Buffer
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

// FuzzReader compares with a reader that has all of the answer in memory.
func FuzzReader(f *testing.F) {
	f.Add([]byte(task), false, uint8(1))
	f.Add([]byte("]{"), false, uint8(1))
	f.Add([]byte(`{"result":{"task":{"taskId":"t","ttl":null},"resultType":"complete","task":{}}}`), false, uint8(9))
	f.Add([]byte("data: "+task+"\n\n"), true, uint8(3))
	f.Add([]byte(byteOrderMark+"data: "+task+"\n\n"), true, uint8(1))
	f.Add([]byte("data\rdata:"+task+"\r\n\n"), true, uint8(7))
	f.Add([]byte(`{"result":{"task\u0049d":"\ud800","resultType":"task","ttlMs":1e3},"result":{}}`), false, uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, events bool, size uint8) {
		passed, tasks, err := read(events, &pieces{body, int(size) + 1})
		if errors.Is(err, ErrTooLong) {
			return
		}
		require.NoError(t, err)
		require.Equal(t, string(body), passed)
		want, ok := expected(body, events)
		if ok {
			require.Equal(t, want, tasks)
		}
	})
}

// pieces reads in pieces of some bytes.
type pieces struct {
	body []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.body) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.body[:min(p.size, len(p.body))])
	p.body = p.body[n:]
	return n, nil
}

// expected returns the tasks of a body. It is not ok if the body has what is no JSON: that means nothing.
func expected(body []byte, events bool) (tasks []Task, ok bool) {
	messages := [][]byte{body}
	if events {
		messages = split(string(body))
	}
	for _, message := range messages {
		if !json.Valid(message) {
			return nil, false
		}
		if task := taskIn(message); task.ID != "" {
			tasks = append(tasks, task)
		}
	}
	return tasks, true
}

// split returns the data of each event, also of the last if it has no blank line.
func split(body string) (messages [][]byte) {
	body = strings.TrimPrefix(body, byteOrderMark)
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n")
	for event := range strings.SplitSeq(body, "\n\n") {
		var data []string
		for line := range strings.SplitSeq(event, "\n") {
			if name, value, _ := strings.Cut(line, ":"); name == dataField {
				data = append(data, strings.TrimPrefix(value, " "))
			}
		}
		if data != nil {
			messages = append(messages, []byte(strings.Join(data, "\n")))
		}
	}
	return messages
}

func taskIn(message []byte) Task {
	var top, result, older map[string]json.RawMessage
	if json.Unmarshal(message, &top) != nil || json.Unmarshal(top["result"], &result) != nil {
		return Task{}
	}
	if text(result["resultType"]) == "task" {
		return Task{ID: text(result["taskId"]), TTL: ttlOf(result["ttlMs"])}
	}
	_ = json.Unmarshal(result["task"], &older)
	return Task{ID: text(older["taskId"]), TTL: ttlOf(older["ttl"])}
}

func text(value json.RawMessage) string {
	var s any
	_ = json.Unmarshal(value, &s)
	text, _ := s.(string)
	return text
}

func ttlOf(value json.RawMessage) time.Duration {
	if string(value) == "null" {
		return longest * time.Millisecond
	}
	var ms any
	_ = json.Unmarshal(value, &ms)
	ttl, _ := ms.(float64)
	return time.Duration(max(0, min(ttl, longest))) * time.Millisecond
}

func BenchmarkReader(b *testing.B) {
	body := `data: {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` +
		strings.Repeat("A quick fox. ", 20) + `"},` + strings.Repeat(`{"a":[1,2,{"b":"c","d":null}]},`, 200) + `0]}}` + "\n\n"
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := Events(io.NopCloser(strings.NewReader(body)), nil)
		_, _ = io.CopyBuffer(onlyWriter{io.Discard}, r, make([]byte, 32<<10))
	}
}

type onlyWriter struct{ io.Writer }
