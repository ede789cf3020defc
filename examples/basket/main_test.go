package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// secret matches what crypto/rand.Text makes, such as a handle.
var secret = regexp.MustCompile(`[A-Z2-7]{25}`)

func TestDemo(t *testing.T) {
	var told strings.Builder
	if err := run(t.Context(), io.MultiWriter(t.Output(), &told), ""); err != nil {
		t.Fatal(err)
	}
	if secret.MatchString(told.String()) {
		t.Error("the report shows a handle")
	}
}
