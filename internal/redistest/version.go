package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// programVariable names the environment variable with the path of another redis-server or valkey-server.
const programVariable = "REDIS_SERVER"

func lookUp(t testing.TB) string {
	t.Helper()
	if named := os.Getenv(programVariable); named != "" {
		program, err := exec.LookPath(named)
		if err != nil {
			t.Fatalf("redistest: %s: %v", programVariable, err)
		}
		return program
	}
	program, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("redistest: redis-server is not in PATH, and in CI no test may be skipped")
	}
	if err != nil {
		t.Skip("redistest: needs redis-server in PATH")
	}
	return program
}

// Since returns whether the server under test is of this version of Redis or later. Valkey began as Redis 7.2, and
// counts on from there: a test that asks for a later version has to know which Valkey can do the same.
func Since(t testing.TB, version string) bool {
	t.Helper()
	_, of, err := Identify(lookUp(t))
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return slices.Compare(numbers(of), numbers(version)) >= 0
}

// SkipBefore skips the rest of a test that an older server cannot pass. The reason names what that server lacks.
func SkipBefore(t testing.TB, version, reason string) {
	t.Helper()
	if !Since(t, version) {
		t.Skipf("before Redis %s: %s", version, reason)
	}
}

// identity is what a program says of itself.
type identity struct{ name, version string }

var identities sync.Map // by program

// Identify returns what a program says of itself, such as "Redis" and "7.0.15".
func Identify(program string) (name, version string, err error) {
	if known, ok := identities.Load(program); ok {
		id := known.(identity)
		return id.name, id.version, nil
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("%s --version: %w", program, err)
	}
	match := regexp.MustCompile(`^(\w+) server v=(\d+\.\d+\.\d+)\b`).FindSubmatch(out)
	if match == nil {
		return "", "", fmt.Errorf("%s --version names no version: %q", program, out)
	}
	id := identity{string(match[1]), string(match[2])}
	identities.Store(program, id)
	return id.name, id.version, nil
}

func numbers(version string) []int {
	var all []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			panic(fmt.Sprintf("redistest: version %q: %v", version, err))
		}
		all = append(all, n)
	}
	return all
}
