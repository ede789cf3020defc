package gosdk

import (
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// TestTaskOutageAtEachStep has the storage fail at each step of a task's life. The client gets an error that tells it
// to try again, does so when the storage is back, and the task goes on.
func TestTaskOutageAtEachStep(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			storage := startFaulty(t)
			// The lease is long: outages must not cost it, and what has to be noticed soon is noticed otherwise.
			f := startFleet(t, storage.link.Addr(), func(r *replica) *mcp.Server {
				return newTaskServer(t, r.sessions, WithLease(10*time.Second))
			}, impatient)
			c := taskClientOf(t, f)
			// The step fails during the outage, and succeeds after it.
			through := func(step func() taskReply) taskReply {
				t.Helper()
				o.begin(storage)
				during := step()
				o.end(storage)
				require.NotNil(t, during.Error, during.body)
				require.Equal(t, errUnavailable.Message, during.Error.Message)
				require.EqualValues(t, -32603, during.Error.Code)
				return c.again(step)
			}
			arguments := map[string]any{"service": "api"}
			created := through(func() taskReply {
				return c.send("tools/call", repeated(map[string]any{"name": "wizard", "arguments": arguments}, "1:", "a"))
			})
			id := created.Result.TaskID
			require.NotEmpty(t, id)
			through(func() taskReply { return c.get(id) })
			require.Equal(t, taskInputRequired, c.await(id, taskWorking).Result.Status)
			through(func() taskReply { return c.answer(id, "1.answer", "b") })
			require.Equal(t, taskInputRequired, c.await(id, taskWorking).Result.Status)
			require.Contains(t, c.again(func() taskReply { return c.get(id) }).Result.InputRequests, "2.answer")
			through(func() taskReply { return c.answer(id, "2.answer", "c") })
			done := c.await(id, taskWorking)
			require.Equal(t, taskCompleted, done.Result.Status)
			require.Contains(t, string(done.Result.Result), "api with a,b,c,")

			long := c.again(func() taskReply {
				return c.call("long", map[string]any{"ms": 600_000, "text": ""})
			}).Result.TaskID
			through(func() taskReply { return c.cancel(long) })
			require.Equal(t, taskCancelled, c.again(func() taskReply { return c.get(long) }).Result.Status)

			// The handler returns during an outage. Its outcome is stored when that is over.
			short := c.again(func() taskReply {
				return c.call("sleep", map[string]any{"ms": 100, "text": "kept"})
			}).Result.TaskID
			o.begin(storage)
			time.Sleep(300 * time.Millisecond)
			o.end(storage)
			done = c.await(short, taskWorking)
			require.Equal(t, taskCompleted, done.Result.Status, done.body)
			require.Contains(t, string(done.Result.Result), "kept")
		})
	}
}

// again repeats a request until it succeeds: after an outage, the connections of the replicas have to recover.
func (c taskClient) again(step func() taskReply) taskReply {
	c.t.Helper()
	var r taskReply
	require.Eventually(c.t, func() bool {
		r = step()
		return r.Error == nil
	}, 20*time.Second, time.Millisecond)
	return r
}

// Redis has lost everything: its tasks are unknown, whether or not their handlers still run.
func TestTasksThatTheStorageHasLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	_, c := startTaskFleet(t, server.Addr(), WithLease(time.Second))
	id := c.call("long", map[string]any{"ms": 600_000, "text": ""}).Result.TaskID
	require.Equal(t, taskWorking, c.get(id).Result.Status)
	server.Kill()
	server.Restart()
	require.Eventually(t, func() bool {
		r := c.get(id)
		return r.Error != nil && r.Error.Message == errUnknownTask.Message
	}, 20*time.Second, 5*time.Millisecond)
}
