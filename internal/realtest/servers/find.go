package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed34611480/session/internal/redistest"
)

// server is a program to run the tests with.
type server struct{ program, name, version string }

func (s server) String() string { return s.name + " " + s.version }

// find returns the servers under a folder: Redis before Valkey, older versions first, each version once.
func find(folder string) ([]server, error) {
	var found []server
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !isProgram(path, entry) {
			return err
		}
		path, err = filepath.Abs(path) // the tests run in folders of their own
		if err != nil {
			return err
		}
		name, version, err := redistest.Identify(path)
		if err != nil {
			return err
		}
		found = append(found, server{path, name, version})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no program called redis-server or valkey-server under %s", folder)
	}
	slices.SortStableFunc(found, func(a, b server) int {
		return cmp.Or(cmp.Compare(a.name, b.name), slices.Compare(numbers(a.version), numbers(b.version)))
	})
	return slices.CompactFunc(found, func(a, b server) bool { return a.String() == b.String() }), nil
}

// isProgram follows symbolic links: an installation may have either name as a link to the other.
func isProgram(path string, entry fs.DirEntry) bool {
	if entry.Name() != "redis-server" && entry.Name() != "valkey-server" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func numbers(version string) []int {
	var all []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part) // Identify returns only digits
		all = append(all, n)
	}
	return all
}
