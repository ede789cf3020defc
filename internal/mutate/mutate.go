// Package mutate builds tests with deliberate mistakes in the code that they test. All mistakes of a table are in one
// binary, and a variable of the environment chooses one: to build is what takes long.
//
// Build keeps each function that has a mistake, and adds a copy with it. The function's name becomes that of a switch:
//
//	func (l *lease) covers(now instant) bool {
//		switch mutantChosen {
//		case 7:
//			return l.covers_7(now)
//		default:
//			return l.covers_0(now)
//		}
//	}
//
// Only the compiler sees these files, by `go test -overlay`.
package mutate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// Mutant is one mistake: in one function of one file, a text is replaced by another.
type Mutant struct {
	File string // from the module's root
	Old  string // occurs exactly once in the file, so that a table cannot go stale
	New  string
}

// chosen is the variable of the environment that has the number of a mutant, which is its place in the table, from 1.
const chosen = "MUTANT_CHOSEN"

// None chooses no mutant: the tests pass.
const None = -1

// Choose returns the environment in which a binary of Build has mutant i of the table.
func Choose(i int) []string { return append(os.Environ(), fmt.Sprint(chosen, "=", i+1)) }

// Overlay is the code of a module with all mutants of a table. Its files are those of one test.
type Overlay struct{ root, name string }

// New writes the code with the mutants. The test fails if one does not fit.
func New(t testing.TB, root string, mutants []Mutant) Overlay {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	add := func(original string, source []byte) {
		changed := filepath.Join(dir, fmt.Sprint(len(replace), "_", filepath.Base(original)))
		if err := os.WriteFile(changed, source, 0o600); err != nil {
			t.Fatal(err)
		}
		replace[original] = changed
	}
	for _, name := range files(mutants) {
		original := filepath.Join(root, name)
		source, err := os.ReadFile(original)
		if err != nil {
			t.Fatal(err)
		}
		merged, err := merge(name, source, mutants)
		if err != nil {
			t.Fatal(err)
		}
		add(original, merged)
		choose := filepath.Join(filepath.Dir(original), "mutant_chosen.go")
		if replace[choose] != "" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		add(choose, fmt.Appendf(nil, choice, file.Name))
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	o := Overlay{root: root, name: filepath.Join(dir, "overlay.json")}
	if err := os.WriteFile(o.name, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

const choice = `package %s

import (
	"os"
	"strconv"
)

var mutantChosen, _ = strconv.Atoi(os.Getenv("` + chosen + `"))
`

// files returns the names of the files that have mutants.
func files(mutants []Mutant) (names []string) {
	for _, m := range mutants {
		if !slices.Contains(names, m.File) {
			names = append(names, m.File)
		}
	}
	return names
}

// Build compiles the tests of a package, and returns the name of the binary.
func (o Overlay) Build(t testing.TB, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "mutants.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", o.name,
		"-o", binary, pkg)
	build.Dir = o.root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("a mutant does not compile: %v\n%s", err, bytes.TrimSpace(output))
	}
	return binary
}
