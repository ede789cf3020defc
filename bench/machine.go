package main

import (
	"cmp"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// machine describes what the numbers depend on, without identifying the machine.
type machine struct {
	CPU, OS, Go, Redis string
	Cores              int
	Libraries          []string
}

var compared = []string{
	"github.com/redis/go-redis/v9", "github.com/redis/rueidis", "github.com/go-redis/cache/v9",
	"github.com/hashicorp/golang-lru/v2", "github.com/maypok86/otter/v2",
}

func describeMachine(s *server) machine {
	m := machine{
		CPU: cmp.Or(field("/proc/cpuinfo", "model name", ":"), runtime.GOARCH),
		OS:  cmp.Or(strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`), runtime.GOOS) + ", " + runtime.GOARCH,
		Go:  runtime.Version(), Redis: s.version, Cores: runtime.NumCPU(),
	}
	build, _ := debug.ReadBuildInfo()
	for _, dependency := range build.Deps {
		if slices.Contains(compared, dependency.Path) {
			m.Libraries = append(m.Libraries, dependency.Path+" "+dependency.Version)
		}
	}
	return m
}

// field returns the first value of a name in a file of lines, or "" if there is none.
func field(file, name, separator string) string {
	text, err := os.ReadFile(file) //nolint:gosec // both names are ours
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
