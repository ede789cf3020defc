package redistest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// useProgram makes a program that only tells its version the server under test.
func useProgram(t *testing.T, says string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "redis-server")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho '"+says+"'\n"), 0o700))
	t.Setenv(programVariable, program)
}

func TestSince(t *testing.T) {
	useProgram(t, "Redis server v=6.2.10 sha=00000000:0 malloc=libc bits=64 build=1")
	for version, want := range map[string]bool{
		"6.0.16": true, "6.2.7": true, "6.2.10": true, "6.2.11": false, "7.0.0": false,
	} {
		assert.Equal(t, want, Since(t, version), version)
	}
	r := record(t, func(t testing.TB) { SkipBefore(t, "7.0.0", "no functions") })
	assert.True(t, r.skipped)
	assert.Equal(t, "before Redis 7.0.0: no functions", r.text)
	r = record(t, func(t testing.TB) { SkipBefore(t, "6.2.7", "") })
	assert.False(t, r.skipped)
}

func TestSinceOnValkey(t *testing.T) {
	useProgram(t, "Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=1")
	assert.True(t, Since(t, "7.2.0"))
}

func TestProgramWithoutVersion(t *testing.T) {
	useProgram(t, "hello")
	assert.True(t, record(t, func(t testing.TB) { Since(t, "6.2.0") }).failed)
}

// TestNamedProgramIsNeverReplaced names a program that is not there: its tests must not pass with another one.
func TestNamedProgramIsNeverReplaced(t *testing.T) {
	t.Setenv(programVariable, filepath.Join(t.TempDir(), "redis-server"))
	t.Setenv("CI", "")
	r := record(t, func(t testing.TB) { Start(t) })
	assert.True(t, r.failed)
	assert.Contains(t, r.text, programVariable)
}
