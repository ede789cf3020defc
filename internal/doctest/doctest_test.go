// Package doctest compiles the Go code of README and docs, and runs what can be run: programs, against a Redis that
// goes away, and tests.
package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/realtest"
)

const root = "../.."

func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }

// TestCodeInDocsCompiles looks at each block on its own: a reader copies one, not the page.
func TestCodeInDocsCompiles(t *testing.T) {
	sources := make(map[string][]source)
	for _, page := range pages(t) {
		for i, b := range blocks(t, page) {
			name := fmt.Sprintf("%s_%d", strings.NewReplacer("/", "_", ".", "_").Replace(b.page), i+1)
			s := newSource(t, name, b)
			sources[s.module] = append(sources[s.module], s)
		}
	}
	for _, module := range modules {
		require.NotEmpty(t, sources[module.dir], "there is code for %s", module.dir)
		t.Run(module.dir, func(t *testing.T) {
			tool(t, module.dir, sources[module.dir], "vet", "./...")
		})
	}
}

// TestTestsInDocsPass runs the tests that docs/testing.md has.
func TestTestsInDocsPass(t *testing.T) {
	var sources []source
	for i, b := range blocks(t, filepath.Join(root, "docs", "testing.md")) {
		s := newSource(t, "testing", b)
		if s.test {
			s.file = fmt.Sprintf("block%d_test.go", i+1)
			sources = append(sources, s)
		}
	}
	require.NotEmpty(t, sources)
	tool(t, sources[0].module, sources, "test", "-vet=off", "-timeout", "60s", "./...")
}
