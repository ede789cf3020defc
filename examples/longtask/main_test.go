package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain is also the main of the replicas that the demo starts.
func TestMain(m *testing.M) {
	if url := os.Getenv(redisOfReplica); url != "" {
		exit(serve(url, os.Stdin, os.Stdout))
	}
	os.Exit(leaktest.Run(m))
}

// secret matches what crypto/rand.Text makes, such as the id of a task.
var secret = regexp.MustCompile(`[A-Z2-7]{25}`)

func TestDemo(t *testing.T) {
	var told strings.Builder
	if err := run(t.Context(), io.MultiWriter(t.Output(), &told), ""); err != nil {
		t.Fatal(err)
	}
	if secret.MatchString(told.String()) {
		t.Error("the report shows the id of a task")
	}
	if !strings.HasSuffix(told.String(), "As expected.\n") {
		t.Error("the report ends early")
	}
}
