package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeProgram(t *testing.T, path, says string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '"+says+"'\n"), mode))
}

func TestFind(t *testing.T) {
	folder := t.TempDir()
	writeProgram(t, filepath.Join(folder, "v/src/valkey-server"), "Valkey server v=9.1.2 sha=0", 0o700)
	writeProgram(t, filepath.Join(folder, "new/redis-server"), "Redis server v=10.0.0 sha=0", 0o700)
	writeProgram(t, filepath.Join(folder, "old/redis-server"), "Redis server v=6.2.0 sha=0", 0o700)
	writeProgram(t, filepath.Join(folder, "again/redis-server"), "Redis server v=6.2.0 sha=0", 0o700)
	writeProgram(t, filepath.Join(folder, "data/redis-server"), "Redis server v=1.0.0 sha=0", 0o600)
	writeProgram(t, filepath.Join(folder, "new/redis-cli"), "redis-cli 10.0.0", 0o700)
	found, err := find(folder)
	require.NoError(t, err)
	var names []string
	for _, s := range found {
		names = append(names, s.String())
	}
	require.Equal(t, []string{"Redis 6.2.0", "Redis 10.0.0", "Valkey 9.1.2"}, names)
}

func TestFindFailsLoudly(t *testing.T) {
	folder := t.TempDir()
	_, err := find(folder)
	require.ErrorContains(t, err, "no program called redis-server")
	writeProgram(t, filepath.Join(folder, "redis-server"), "hello", 0o700)
	_, err = find(folder)
	require.ErrorContains(t, err, "names no version")
	require.ErrorContains(t, run(t.Context(), "", nil), "SERVERS=")
	require.ErrorContains(t, run(t.Context(), "", []string{""}), "SERVERS=")
}

const output = `
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB/one"}
{"Action":"output","Package":"p","Test":"TestB/two","Output":"    a_test.go:9: before Redis 7.0.0: no functions\n"}
{"Action":"output","Package":"p","Test":"TestB/two","Output":"--- SKIP: TestB/two (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB/two"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestStorageConforms/Close"}
{"Action":"output","Package":"p","Test":"TestC/one","Output":"    c_test.go:7: no\n"}
{"Action":"fail","Package":"p","Test":"TestC/one"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"fail","Package":"broken"}
`

func TestReport(t *testing.T) {
	of := results{}
	var log strings.Builder
	require.NoError(t, of.read(strings.NewReader(output), &log))
	require.Equal(t, "    c_test.go:7: no\n", log.String())
	require.Equal(t, "2 passed, 1 skipped, 2 failed", of.String())

	r := report{packages: []testPackage{{".", "p"}, {".", "broken"}}}
	r.add(server{name: "Redis", version: "6.2.0"}, of)
	r.add(server{name: "Redis", version: "7.0.0"}, results{"p": {"TestA": {action: "pass"}}})
	require.Equal(t, 2, r.failures())
	require.Equal(t, header+`| package | Redis 6.2.0 | Redis 7.0.0 |
| --- | --- | --- |
| p | 2, 1 skipped, **1 failed** | 1 |
| broken | 0, **1 failed** | 0 |

## Failed

| package | test | reason | with |
| --- | --- | --- | --- |
| p | `+"`TestC/one`"+` | see the log | Redis 6.2.0 |
| broken | the package as a whole | see the log | Redis 6.2.0 |

## Skipped

| package | test | reason | with |
| --- | --- | --- | --- |
| p | `+"`TestB/two`"+` | before Redis 7.0.0: no functions | Redis 6.2.0 |
`, r.String())
}

func TestPackagesWithServers(t *testing.T) {
	t.Chdir("../../..")
	found, err := packagesWithServers(t.Context())
	require.NoError(t, err)
	var names []string
	for _, p := range found {
		names = append(names, p.String())
	}
	require.Subset(t, names, []string{
		"session", "internal/redisstore", "internal/redistest", "internal/realtest/faults", "internal/realtest/topology",
		"internal/lincheck", "examples/topologies/cluster",
	})
}
