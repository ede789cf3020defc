package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const header = `# Servers

The tests that start real servers, run with other versions than the one that CI installs. Written by:

` + "```sh\nSERVERS=<folder> task servers\n```" + `

It runs the packages below with each program called redis-server or valkey-server under the folder, one after the other,
with the fault matrix of [faults.md](faults.md). The cells count tests that passed, and the cases of tables one by one.
What the conformance suite skips because a storage lacks a capability is not counted. CI runs the same tests with the
server of its distribution. There none may fail, and only the atomic migrations of slots are skipped for its version.

`

// report is what became of all tests with all servers.
type report struct {
	packages []testPackage
	servers  []server
	results  []results
}

func (r *report) add(s server, of results) {
	r.servers, r.results = append(r.servers, s), append(r.results, of)
}

func (r *report) failures() (n int) {
	for i := range r.servers {
		for _, p := range r.packages {
			n += r.results[i].count(p.path, "fail")
		}
	}
	return n
}

func (r *report) String() string {
	var b strings.Builder
	b.WriteString(header)
	names := make([]string, len(r.servers))
	for i, s := range r.servers {
		names[i] = s.String()
	}
	writeCells(&b, append([]string{"package"}, names...)...)
	writeCells(&b, slices.Repeat([]string{"---"}, 1+len(r.servers))...)
	for _, p := range r.packages {
		cells := []string{p.String()}
		for _, of := range r.results {
			cells = append(cells, cell(of, p.path))
		}
		writeCells(&b, cells...)
	}
	b.WriteString("\n## Failed\n\n")
	r.writeTests(&b, "fail")
	b.WriteString("\n## Skipped\n\n")
	r.writeTests(&b, "skip")
	return b.String()
}

func cell(of results, path string) string {
	text := strconv.Itoa(of.count(path, "pass"))
	if n := of.count(path, "skip"); n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	if n := of.count(path, "fail"); n > 0 {
		text += fmt.Sprintf(", **%d failed**", n)
	}
	return text
}

// writeTests lists the tests with an outcome, and with which servers.
func (r *report) writeTests(b *strings.Builder, action string) {
	type row struct{ path, test, reason string }
	with := make(map[row][]string) // servers
	var rows []row
	for i, s := range r.servers {
		for _, p := range r.packages {
			for _, name := range r.results[i].leaves(p.path) {
				o := r.results[i][p.path][name]
				if o.action != action {
					continue
				}
				t := row{p.String(), "`" + name + "`", o.reason}
				switch {
				case action == "fail":
					t.reason = ""
				case t.reason == "":
					t.reason = "unknown"
				}
				if name == "" {
					t.test = "the package as a whole"
				}
				if with[t] == nil {
					rows = append(rows, t)
				}
				with[t] = append(with[t], s.String())
			}
		}
	}
	if len(rows) == 0 {
		b.WriteString("None.\n")
		return
	}
	writeCells(b, "package", "test", "reason", "with")
	writeCells(b, slices.Repeat([]string{"---"}, 4)...)
	for _, t := range rows {
		servers := strings.Join(with[t], ", ")
		if len(with[t]) == len(r.servers) {
			servers = "all"
		}
		writeCells(b, t.path, t.test, cmp.Or(t.reason, "see the log"), servers)
	}
}

func writeCells(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}
