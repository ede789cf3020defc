package learn

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Task is what an answer says of a task that it announces.
type Task struct {
	ID  string
	TTL time.Duration // from its creation; 0: not said
}

// maxText is how many bytes of a string are looked at, as they are written, with their escapes.
const maxText = 4096

// longest is the longest TTL that a Task has, which also stands for an unlimited one: more does not fit into a
// time.Duration.
const longest = 1 << 40 // milliseconds

// field is a member of a message that counts.
type field uint8

const (
	other field = iota
	result
	resultType
	olderTask
	taskID
	ttlMs
)

// claim is what a message says of a task.
type claim struct {
	task Task
	long bool // its taskId has more than maxText bytes
}

// message finds the task in the bytes of one JSON-RPC message. It knows how deep it is, and looks only at the members
// of the message, of its result, and of the task in there: a tool may return anything else below that, and must not be
// able to announce a task.
//
// A result of resultType "task" has the members of the task. mcp-go announces one in the way of 2025-11-25, also to
// requests of 2026-07-28: in a member "task" of the result.
//
// It checks no syntax. What is no JSON means nothing to a client; all that counts is that the scanner ends.
type message struct {
	claim

	isTask bool  // its resultType is "task"
	older  claim // that of the result's member "task"

	depth    int
	over     bool  // the message is complete, or is none
	inResult bool  // the object at depth 2 is the result
	inTask   bool  // the object at depth 3 is its member "task"
	wantsKey bool  // where members count: the next string is a name
	field    field // the member whose value comes

	inString, escaped, inNumber bool
	captures                    bool   // text gets what is read
	text                        []byte // with escapes, without quotes
	textLong                    bool   // text is not all of it
}

// reset begins the next message.
func (m *message) reset() { *m = message{text: m.text[:0]} }

// scan reads p until a byte completes a message with a task, and returns the index of that byte, or -1. After that the
// task is in m.task, and scan goes on with the byte that follows.
func (m *message) scan(p []byte) int {
	for i := 0; i < len(p) && !m.over; i++ {
		if i += m.skip(p[i:]); i == len(p) {
			break
		}
		if m.inString {
			m.inText(p[i])
		} else if m.structure(p[i]) {
			return i
		}
	}
	return -1
}

// skip returns how many bytes change nothing: most of an answer is texts, and what tools return.
func (m *message) skip(p []byte) int {
	switch {
	case m.captures || m.escaped:
		return 0
	case m.inString:
		for i, c := range p {
			if c == '"' || c == '\\' {
				return i
			}
		}
	case m.depth == 0 || m.members():
		return 0
	default:
		for i, c := range p {
			switch c {
			case '"', '{', '}', '[', ']':
				return i
			}
		}
	}
	return len(p)
}

// inText takes in a byte of a string.
func (m *message) inText(c byte) {
	switch {
	case m.escaped:
		m.escaped = false
	case c == '\\':
		m.escaped = true
	case c == '"':
		m.inString = false
		if m.captures {
			m.captures = false
			m.stringRead()
		}
		return
	}
	m.capture(c)
}

func (m *message) capture(c byte) {
	switch {
	case !m.captures:
	case len(m.text) < maxText:
		m.text = append(m.text, c)
	default:
		m.textLong = true
	}
}

// structure takes in a byte that is part of no string, and reports whether it completes a message with a task.
func (m *message) structure(c byte) bool {
	switch c {
	case '"':
		m.inString = true
		m.begin(m.members() && (m.wantsKey || m.field == taskID || m.field == resultType))
	case '{', '[':
		m.open(c)
	case '}', ']':
		m.endNumber()
		return m.shut(c)
	case ',':
		m.endNumber()
		if m.members() {
			m.wantsKey, m.field = true, other
		}
	case ':':
		m.wantsKey = m.wantsKey && !m.members()
	case ' ', '\t', '\r', '\n', 0xEF, 0xBB, 0xBF: // the last are a byte order mark, which some clients skip
	default:
		if m.depth == 0 {
			m.over = true // a number, or no JSON
		}
		if !m.inNumber && m.field == ttlMs && m.members() {
			m.inNumber = true
			m.begin(true)
		}
		m.capture(c)
	}
	return false
}

// members reports whether the members of the present object count.
func (m *message) members() bool {
	return m.depth == 1 || m.depth == 2 && m.inResult || m.depth == 3 && m.inTask
}

// present returns what the members of the present object tell.
func (m *message) present() *claim {
	if m.inTask {
		return &m.older
	}
	return &m.claim
}

func (m *message) begin(captures bool) { m.captures, m.text, m.textLong = captures, m.text[:0], false }

func (m *message) open(c byte) {
	m.depth++
	switch {
	case m.depth == 1:
		m.over = c != '{' // a batch announces no tasks: the protocol that has tasks has none
		m.wantsKey = true
	case m.depth == 2 && m.field == result && c == '{':
		m.inResult, m.wantsKey, m.field = true, true, other
	case m.depth == 3 && m.inResult && m.field == olderTask && c == '{':
		m.inTask, m.wantsKey, m.field = true, true, other
	}
}

func (m *message) shut(c byte) bool {
	if m.members() && c != '}' {
		m.over = true
		return false
	}
	m.depth--
	switch {
	case m.depth < 0:
		m.over = true
	case m.depth == 0:
		m.over = true
		if !m.isTask {
			m.claim = m.older
		}
		return m.task.ID != "" || m.long
	case m.depth == 1:
		m.inResult, m.wantsKey, m.field = false, false, other
	case m.depth == 2:
		m.inTask, m.wantsKey, m.field = false, false, other
	}
	return false
}

// stringRead takes in a name, or a value that counts. Of two members with one name, the second counts, as it does to
// encoding/json and to JSON.parse.
func (m *message) stringRead() {
	text, ok := m.decoded()
	switch {
	case m.wantsKey:
		m.field = other
		if ok {
			m.nameRead(text)
		}
	case m.field == resultType:
		m.isTask = ok && text == "task"
	case m.field == taskID:
		c := m.present()
		c.task.ID, c.long = text, m.textLong
	}
}

func (m *message) nameRead(name string) {
	switch {
	case m.depth == 1 && name == "result":
		m.field = result
		m.claim, m.isTask, m.older = claim{}, false, claim{}
	case m.depth == 1:
	case name == "taskId":
		m.field = taskID
		c := m.present()
		c.task.ID, c.long = "", false
	case name == "ttlMs" && !m.inTask, name == "ttl" && m.inTask:
		m.field = ttlMs
		m.present().task.TTL = 0
	case m.inTask:
	case name == "resultType":
		m.field = resultType
		m.isTask = false
	case name == "task":
		m.field = olderTask
		m.older = claim{}
	}
}

// endNumber takes in the value of ttlMs.
func (m *message) endNumber() {
	if !m.inNumber {
		return
	}
	m.inNumber, m.captures = false, false
	c := m.present()
	if string(m.text) == "null" {
		c.task.TTL = longest * time.Millisecond
	} else if ms, err := strconv.ParseFloat(string(m.text), 64); err == nil && ms > 0 {
		c.task.TTL = time.Duration(min(ms, longest)) * time.Millisecond
	}
}

// decoded returns the text of a string, unless it is too long or has none.
func (m *message) decoded() (string, bool) {
	if m.textLong {
		return "", false
	}
	if !slices.ContainsFunc(m.text, isSpecial) {
		return string(m.text), true
	}
	quoted := make([]byte, 0, len(m.text)+2)
	quoted = append(append(append(quoted, '"'), m.text...), '"')
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err == nil
}

func isSpecial(c byte) bool { return c < ' ' || c == '\\' || c > '~' }
