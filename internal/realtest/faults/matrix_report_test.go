//go:build unix

package faults

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

const (
	matrixReport = "../../../docs/faults.md"

	matrixHeader = `# Faults

Written by a test, on a machine with two cores that also runs the redis-server processes:

` + "```sh\nFAULT_MATRIX=write go test -run '^TestFaultMatrix$' -count=1 ./internal/realtest/faults\n```" + `

In each row, two replicas load, store and delete %d sessions on real redis-server processes. After a while the fault
begins. It lasts %s, or is repeated for as long. S is ` + "`MaxStaleness`" + `, %s. Every answer is compared with all
writes that were acknowledged, without tolerance. CI runs the same checks with every change, but does not write this
table. Times differ from run to run.

In all rows, every error is ` + "`ErrUnavailable`" + `. Where a server is replaced, its replica has all acknowledged
writes before the kill: this library cannot promise those that Redis loses in a failover.

- **Longest staleness**: the oldest answer, by the time from when a newer write was acknowledged to when the load began.
  More than S is wrong. Through the replica that wrote, more than 0 is wrong.
- **Wrong answers**: too old, never written, a deleted session, another session, "not found" for one that exists, or an
  error other than ` + "`ErrUnavailable`" + `.
- **` + "`ErrUnavailable`" + `**: operations that returned it. Where no errors are promised, one fails the test.
- **Answers again after**: until store, load and delete succeed through both replicas, from the end of the fault, or
  from the kill where a server is replaced.
- **Leased again after**: until both replicas are leased, and a change through one reaches the other as an event.

`

	fenceHeader = `
## Fences

Here the replicas have ` + "`WithFencing`" + `, and serve nothing without a lease. There is the traffic of the first
table, checked as there. Besides, eight workers delete sessions of which every replica has a copy, call
` + "`Fence`" + ` through either replica, and then load the session through every replica at once. A client that is
stopped or killed is a third replica, in a process of its own; the one that is stopped loads, too.

Everything counts from the beginning of the fault until fences return early again, and some loads after that. A fence
has to return nil within S and two thousandths of that. One that returns %s later than a timer of that length fails
the test, and so does one that returns an error.

- **Early**: fences that took less than half of S. The others waited for a lease that could not be accounted for.
- **Loads**: of a session that was deleted before a fence, from when the fence has returned.
- **Served**: loads that returned the session. Each is wrong.
- **Early again after**: from the end of the fault, or from the kill where a server is replaced or a client killed.

`

	pressureHeader = `
## Under five times the critical load

While there are no change events, a replica asks Redis for each session in use once every S. Its connections have room
for S x ` + "`PoolSize`" + ` / round trip such loads in that time: that number of sessions in use is the critical load.
With more of them, more loads come than the connections can carry.

Here S is %s, ` + "`PoolSize`" + ` is %d, and the link adds %s to each round trip: %d sessions are critical. %d are in
use through one replica. Each has a user, who loads it every %s and sets no time limit. Another replica changes
a few sessions, and every answer is checked as above. Before the event the replica is leased and has all sessions,
except for the cold start: there a new replica takes over all users at once.

All times count from the end of the event. Failed loads are counted until that end, in the first %s after it, and in
the %s from then on. A load that fails in the last %s fails the test.

- **Leased after**: until the replica is leased again. Beside it is the share of the %s in which it is leased.
- **Last failed load after**: until no load fails any more.
- **Remote loads**: those that the replica sends from the beginning of the event. It needs %d to have all sessions.
- **Most goroutines**: in the whole process, with one for each user, and those of the link and of the test.

`
)

func writeReport(t *testing.T, measured, fenced []measurement, underPressure []pressureFigures) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, matrixHeader, matrixSessions, milliseconds(faultDuration), milliseconds(realtest.Staleness))
	writeCells(&b, "fault", "what is promised", "longest staleness", "wrong answers", "`ErrUnavailable`",
		"answers again after", "leased again after")
	writeCells(&b, slices.Repeat([]string{"---"}, 7)...)
	for i, m := range measured {
		row := matrixRows[i]
		if row.impossible(t) {
			writeCells(&b, row.name, row.promised, row.needs(), "", "", "", "")
			continue
		}
		require.NotZero(t, m, "a table needs all rows")
		writeCells(&b, row.name, row.promised, milliseconds(m.Oldest), strconv.Itoa(m.Wrong),
			m.errorText(), milliseconds(m.answers), milliseconds(m.leased))
	}
	writeFences(t, &b, fenced)
	writePressure(&b, underPressure)
	require.NoError(t, os.WriteFile(matrixReport, []byte(b.String()), 0o644))
}

func writeFences(t *testing.T, b *strings.Builder, measured []measurement) {
	t.Helper()
	fmt.Fprintf(b, fenceHeader, milliseconds(realtest.FenceMargin))
	writeCells(b, "fault", "fences", "early", "longest fence", "loads", "served", "early again after")
	writeCells(b, slices.Repeat([]string{"---"}, 7)...)
	for i, row := range fenceRows() {
		m := measured[i]
		if row.impossible(t) {
			writeCells(b, row.name, row.needs(), "", "", "", "", "")
			continue
		}
		require.NotZero(t, m, "a table needs all rows")
		writeCells(b, row.name, strconv.Itoa(m.fences.Fences), percent(float64(m.fences.Early)/float64(m.fences.Fences)),
			milliseconds(m.fences.Longest), strconv.Itoa(m.fences.Loads), strconv.Itoa(m.fences.Served), milliseconds(m.early))
	}
}

// impossible reports whether the server under test cannot do this.
func (row matrixRow) impossible(t *testing.T) bool {
	t.Helper()
	return row.since != "" && !redistest.Since(t, row.since)
}

func (row matrixRow) needs() string {
	return "needs Redis " + row.since + " or Valkey 9: [servers.md](servers.md)"
}

func writePressure(b *strings.Builder, measured []pressureFigures) {
	fmt.Fprintf(b, pressureHeader, seconds(pressureStaleness), pressurePool,
		milliseconds(pressureRoundTrip), criticalSessions, pressureSessions,
		milliseconds(pressureInterval), seconds(pressureEarly), seconds(pressureWhole-pressureEarly),
		seconds(pressureQuiet), seconds(pressureWhole), pressureSessions)
	writeCells(b, "event", "leased after", "leased", "failed loads in the event", "in the first "+seconds(pressureEarly),
		"from then on", "last failed load after", "remote loads", "most goroutines", "longest staleness", "wrong answers")
	writeCells(b, slices.Repeat([]string{"---"}, 11)...)
	for i, f := range measured {
		last := "none"
		if f.FailedLoads > 0 {
			last = milliseconds(f.lastFailure)
		}
		writeCells(b, pressureEvents[i].name, milliseconds(f.leased), percent(f.leasedShare),
			f.during.String(), f.early.String(), f.late.String(), last, strconv.FormatUint(f.remoteLoads, 10),
			strconv.Itoa(f.goroutines), milliseconds(f.Oldest), strconv.Itoa(f.Wrong))
	}
}

func (f failures) String() string {
	if f.failed == 0 {
		return "none"
	}
	return fmt.Sprintf("%s of %d", percent(float64(f.failed)/float64(f.loads)), f.loads)
}

func percent(share float64) string {
	if share > 0 && share < 0.01 {
		return "< 1%"
	}
	return fmt.Sprintf("%.0f%%", 100*share)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

func writeCells(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func (m measurement) errorText() string {
	if m.Failed() == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d loads, %d of %d writes", m.FailedLoads, m.Loads, m.FailedWrites, m.Writes)
}

func milliseconds(d time.Duration) string {
	if d < time.Millisecond {
		return "< 1 ms"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
