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
)

func writeReport(t *testing.T, measured []measurement) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, matrixHeader, matrixSessions, milliseconds(faultDuration), milliseconds(realtest.Staleness))
	writeCells(&b, "fault", "what is promised", "longest staleness", "wrong answers", "`ErrUnavailable`",
		"answers again after", "leased again after")
	writeCells(&b, slices.Repeat([]string{"---"}, 7)...)
	for i, m := range measured {
		require.NotZero(t, m, "a table needs all rows")
		writeCells(&b, matrixRows[i].name, matrixRows[i].promised, milliseconds(m.Oldest), strconv.Itoa(m.Wrong),
			m.errorText(), milliseconds(m.answers), milliseconds(m.leased))
	}
	require.NoError(t, os.WriteFile(matrixReport, []byte(b.String()), 0o644))
}

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
