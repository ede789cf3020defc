//go:build unix

package session_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const faultsHeader = `# Faults

Made by a test, on a machine with two cores and redis-server on the same one:

` + "```sh\nFAULT_MATRIX=write go test -run '^TestFaultMatrix$' -count=1 .\n```" + `

In each row, two replicas load, store and delete %d sessions on real redis-server processes. After a while the fault
begins; it lasts %s, or is repeated for as long. S is %s. Every answer is compared with all writes that were
acknowledged, without tolerance. CI runs the same checks with every change, without writing this table; times differ
from run to run.

All else is ` + "`ErrUnavailable`" + `, in all rows. Where a server is replaced, its replica has all acknowledged
writes before the kill: those that Redis loses in a failover are not this library's to promise.

- **Longest staleness**: the oldest answer, by the time from when a newer write was acknowledged to when the load began.
  More than S, or, through the replica that wrote, more than 0, is wrong.
- **Wrong answers**: too old, never written, a deleted session, another session, or "not found" for one that lives; and
  every error but ` + "`ErrUnavailable`" + `.
- **` + "`ErrUnavailable`" + `**: answers that say so. Where no errors are promised, one fails the test.
- **Answers again after**: until store, load and delete succeed through both replicas, from the end of the fault, and
  from the kill where a server is replaced.
- **Leased again after**: until both replicas are leased, and a change through one reaches the other as an event.

`

func writeFaults(t *testing.T, measured []measurement) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, faultsHeader, matrixSessions, milliseconds(faultDuration), milliseconds(topologyStaleness))
	writeRow(&b, "fault", "what is promised", "longest staleness", "wrong answers", "`ErrUnavailable`",
		"answers again after", "leased again after")
	writeRow(&b, slices.Repeat([]string{"---"}, 7)...)
	for i, m := range measured {
		require.NotZero(t, m, "a table needs all rows")
		writeRow(&b, faultRows[i].name, faultRows[i].promised, milliseconds(m.staleness), strconv.Itoa(m.wrong),
			m.errorText(), milliseconds(m.answers), milliseconds(m.leased))
	}
	require.NoError(t, os.WriteFile("docs/faults.md", []byte(b.String()), 0o644))
}

func writeRow(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func (m measurement) errorText() string {
	if m.failedLoads+m.failedWrites == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d loads, %d of %d writes", m.failedLoads, m.loads, m.failedWrites, m.writes)
}

func milliseconds(d time.Duration) string {
	if d < time.Millisecond {
		return "< 1 ms"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
