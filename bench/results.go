package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// results is everything that was measured: the input of the report.
type results struct {
	config

	Started   time.Time
	Machine   machine
	Hits      []hitRow
	Remote    []remoteRow
	Memory    []memoryRow
	Steady    []steadyRow
	Proxy     []proxyRow
	Broadcast broadcast
	Final     []finalRow
	Pressure  []pressureRow
	Model     []modelRow
}

//go:embed results.md.tmpl
var reportText string

var report = template.Must(template.New("report").Funcs(template.FuncMap{
	"number":  number,
	"percent": func(ratio float64) string { return number(100*ratio) + "%" },
	"bytes":   bytesPerSecond,
	"float":   func(n int) float64 { return float64(n) },
	"ns":      func(d time.Duration) string { return d.String() },
}).Parse(reportText))

// write makes RESULTS.md and the charts.
func (r *results) write() error {
	if err := os.MkdirAll(r.out, 0o755); err != nil { //nolint:gosec // everyone may read it
		return err
	}
	var text strings.Builder
	if err := report.Execute(&text, r); err != nil {
		return err
	}
	file := filepath.Join(r.out, "RESULTS.md")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil { //nolint:gosec // as above
		return err
	}
	return r.charts()
}

// Command is the command line of the run.
func (r *results) Command() string {
	command := "go run -C bench ."
	if r.quick {
		command += " -quick"
	}
	if r.rounds != defaultRounds {
		command += fmt.Sprint(" -rounds ", r.rounds)
	}
	return command
}

// PressureTimes says how long things take in the measurement under pressure.
func (r *results) PressureTimes() map[string]any {
	t := r.pressure
	return map[string]any{
		"Rounds": t.rounds, "Early": t.early, "Late": t.late, "Pause": t.pause,
		"Pool": pressurePool, "RoundTrip": pressureRoundTrip, "Factor": pressureFactor, "Sessions": pressureSessions,
		"Interval": pressureInterval, "Staleness": pressureStaleness,
	}
}

// Quick says that the numbers mean nothing.
func (r *results) Quick() bool { return r.quick }

// Rounds is the number of rounds.
func (r *results) Rounds() int { return r.rounds }

// Turns is the number of turns of each design in a round.
func (r *results) Turns() int { return r.turns }

// Slot is the length of a turn.
func (r *results) Slot() string { return r.slot.String() }

// LeastHit is the time of a clock reading plus the fastest lookup.
func (r *results) LeastHit() string {
	clock, lookup, loop := r.hit(nameClock).Parallel, r.hit(nameOtter).Parallel, r.hit(nameNothing).Parallel
	sum := make(series, len(clock))
	for i := range sum {
		sum[i] = clock[i] + lookup[i] - loop[i]
	}
	return sum.Time()
}

// LeastStore is the time of the least possible store, relative to a bare SET.
func (r *results) LeastStore() string { return r.remote(nameLeastStore).Over.Times() }

// Cases are those of docs/scaling.md.
func (r *results) Cases() []caseRow {
	all := cases()
	rows := make([]caseRow, len(all))
	for i, w := range all {
		rows[i] = caseRow{w, w.cost()}
	}
	return rows
}

type caseRow struct {
	Load workload
	Cost cost
}

func (r *results) hit(name string) *hitRow {
	return &r.Hits[slices.IndexFunc(r.Hits, func(h hitRow) bool { return h.Name == name })]
}

func (r *results) remote(name string) *remoteRow {
	return &r.Remote[slices.IndexFunc(r.Remote, func(row remoteRow) bool { return row.Name == name })]
}

func (r *results) steady(name string) *steadyRow {
	return &r.Steady[slices.IndexFunc(r.Steady, func(s steadyRow) bool { return s.Name == name })]
}

// Slower returns the time of another load, relative to a hit of ours.
func (r *results) Slower(name string) string {
	return times(r.hit(name).Parallel.over(r.hit(nameOurs).Parallel).Median())
}

func bytesPerSecond(n float64) string {
	switch {
	case n < 1e3:
		return number(n) + " B"
	case n < 1e6:
		return number(n/1e3) + " kB"
	case n < 1e9:
		return number(n/1e6) + " MB"
	}
	return number(n/1e9) + " GB"
}
