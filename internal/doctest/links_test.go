package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	shell   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	code    = regexp.MustCompile("(?ms)^```.*?^```$")
)

// pages are all pages of the repository.
func pages(t *testing.T) []string {
	var found []string
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md"} {
		match, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		found = append(found, match...)
	}
	require.NotEmpty(t, found)
	return found
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(read(t, page), ""), -1) {
			to, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			file := page
			if to != "" {
				file = filepath.Join(filepath.Dir(page), to)
			}
			if _, err := os.Stat(file); !assert.NoError(t, err, page) {
				continue
			}
			if anchor != "" {
				assert.Contains(t, anchors(read(t, file)), anchor, "%s links to %s", page, match[1])
			}
		}
	}
}

// anchors are those that GitHub makes of headings.
func anchors(text string) []string {
	var names []string
	for _, match := range heading.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			default:
				return -1
			}
		}, strings.ToLower(match[1])))
	}
	return names
}

// TestCommandsAreRunInCI is about the commands that a newcomer types first.
func TestCommandsAreRunInCI(t *testing.T) {
	elsewhere := map[string]string{
		".ci/run":                                "is CI",
		"go get github.com/seed34611480/session": "needs a release",
	}
	ci := strings.Split(read(t, filepath.Join(root, ".ci", "run")), "\n")
	for i, line := range ci {
		if _, command, ok := strings.Cut(line, `step "`); ok {
			_, ci[i], _ = strings.Cut(command, `" `)
		}
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md"} {
		for _, match := range shell.FindAllStringSubmatch(read(t, filepath.Join(root, page)), -1) {
			for command := range strings.Lines(match[1]) {
				if command = strings.TrimSpace(command); elsewhere[command] == "" {
					assert.Contains(t, ci, command, page)
				}
			}
		}
	}
}
