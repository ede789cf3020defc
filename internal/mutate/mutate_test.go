package mutate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	code = `package sum

// Total has a receiver, names that the switch cannot use, and more than one result.
type Total struct{ n int }

func (t *Total) Add(_ string, numbers ...int) (sum int, err error) {
	for _, n := range numbers {
		t.n += n // once
	}
	return t.n, nil
}

func (*Total) Zero() int { return 0 }

// first has a parameter of a type.
func first[T any](all []T, _ ...string) T { return all[0] }

func reset(t *Total) {
	t.n = 0
}
`
	test = `package sum

import "testing"

func TestSum(t *testing.T) {
	var total Total
	if n, err := total.Add("", 1, 2); n != 3 || err != nil {
		t.Error("sum")
	}
	if reset(&total); total.n != 0 || total.Zero() != 0 {
		t.Error("reset")
	}
	if first([]string{"a", "b"}) != "a" {
		t.Error("first")
	}
}
`
)

var mutants = []Mutant{
	{"sum.go", "t.n += n // once", "t.n -= n"},
	{"sum.go", "t.n = 0\n", "_ = t\n"},
	{"sum.go", "all[0]", "all[1]"},
	{"sum.go", "return t.n, nil", "return 0, nil"},
	{"sum.go", "{ return 0 }", "{ return 1 }"},
}

// module writes a module with one package, and returns its folder.
func module(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module sum\n\ngo 1.26\n", "sum.go": code, "sum_test.go": test} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestOneBinaryHasAllMutants(t *testing.T) {
	t.Parallel()
	dir := module(t)
	binary := New(t, dir, mutants).Build(t, ".")
	run := func(i int) error {
		command := exec.CommandContext(t.Context(), binary)
		command.Dir, command.Env = dir, Choose(i)
		return command.Run()
	}
	require.NoError(t, run(None))
	for i, m := range mutants {
		var failed *exec.ExitError
		require.ErrorAs(t, run(i), &failed, m.Old)
	}
}

// TestMutantsThatDoNotFit shows that a table cannot go stale.
func TestMutantsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, m := range []Mutant{
		{"sum.go", "not there", ""},
		{"sum.go", "t.n", "t.m"},             // more than once
		{"sum.go", "int }", "int; unused }"}, // in no function
		{"sum.go", "t.n = 0", "t.n = ("},     // no Go
		{"sum.go", "all[0] }", "all[0] }\nfunc another() {}"},
	} {
		_, err := merge("sum.go", []byte(code), []Mutant{m})
		require.Error(t, err, fmt.Sprint(m))
	}
}
