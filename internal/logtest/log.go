// Package logtest has the log that tests read while others write it.
package logtest

import (
	"bytes"
	"sync"
)

// Log is text that any number of goroutines write and read. The zero value is empty.
type Log struct {
	mu   sync.Mutex // protects text
	text bytes.Buffer
}

// Write implements [io.Writer]. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Take returns what was written since the last Take.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}
