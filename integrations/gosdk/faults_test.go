package gosdk

import (
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/redistest"
)

// faulty is a storage that can be out of reach, by its own fault or by that of the link to it.
type faulty struct {
	*redistest.Server
	link *netfault.Proxy
}

func startFaulty(t *testing.T) faulty {
	t.Helper()
	server := redistest.Start(t, redistest.WithConfig("appendonly yes", "appendfsync always"))
	return faulty{server, netfault.Start(t, server.Addr())}
}

// outage is something that happens to the storage before a step of a call, and ends after it.
type outage struct {
	name       string
	begin, end func(st faulty)

	// lossy outages may let a command through whose answer is lost. Then the client has to begin anew.
	lossy bool
}

var outages = []outage{
	{
		"away",
		func(st faulty) { st.link.Refuse(); st.link.Reset() },
		func(st faulty) { _ = st.link.Accept() }, // if it fails, so does what follows
		false,
	},
	{"killed and restarted", func(st faulty) { st.Kill() }, func(st faulty) { st.Restart() }, false},
	{
		"slow",
		func(st faulty) { st.link.Set(netfault.ToServer, netfault.Fault{Latency: time.Second}) },
		func(st faulty) { st.link.SetBoth(netfault.Fault{}) },
		true,
	},
	{
		"answers are lost",
		func(st faulty) { st.link.Set(netfault.ToClient, netfault.Fault{Drop: true}) },
		func(st faulty) { st.link.SetBoth(netfault.Fault{}); st.link.Reset() },
		true,
	},
}

// impatient makes a client find out soon that its server is away.
func impatient(o *redis.Options) {
	o.DialTimeout, o.ReadTimeout, o.DialerRetries = 300*time.Millisecond, 300*time.Millisecond, 1
}

// TestOutageAtEachStep has the storage fail at each step of a call. The client repeats the step with the same
// requestState afterwards, and the call goes on to its end.
func TestOutageAtEachStep(t *testing.T) {
	t.Parallel()
	for _, guardName := range []string{"stored", "once"} {
		t.Run(guardName, func(t *testing.T) {
			t.Parallel()
			storage := startFaulty(t)
			f := startFleet(t, storage.link.Addr(), func(r *replica) *mcp.Server {
				return newServer(guards[guardName](t, r.remote))
			}, impatient)
			for _, o := range outages {
				for step := range questions + 1 {
					c := raw{t: t, url: "http://127.0.0.1", web: f.as(alice), token: alice}
					// On a loaded machine, Redis may be slow when it is not meant to be.
					for tries := 1; !outageAt(t, c, storage, o, step, guardName == "once"); tries++ {
						require.Less(t, tries, 5)
					}
				}
			}
		})
	}
}

// outageAt returns false if the storage has failed at another step, too.
func outageAt(t *testing.T, c raw, storage faulty, o outage, step int, sealsWithoutStorage bool) bool {
	t.Helper()
	target := targets()[step%len(targets())]
	answers := []string{"", "a", "b", "c"}
	var r reply // to the step before
	send := func(step int) reply {
		if step == 0 {
			return c.call(target.method, target.params)
		}
		return c.call(target.method, repeated(target.params, r.Result.RequestState, answers[step]))
	}
	for i := range step {
		if r = send(i); r.Error.Message == errUnavailable.Message {
			return false
		}
		require.NotEmpty(t, r.Result.RequestState, r.body)
	}

	o.begin(storage)
	during := send(step)
	o.end(storage)
	if step == 0 && sealsWithoutStorage {
		require.NotEmpty(t, during.Result.RequestState, during.body)
	} else {
		require.Equal(t, errUnavailable.Message, during.Error.Message, "%s, step %d: %s", o.name, step, during.body)
		require.Equal(t, -32603, during.Error.Code)
		require.Equal(t, http.StatusOK, during.Status)
	}

	var next reply
	for deadline := time.Now().Add(10 * time.Second); ; { // the replicas' connections recover
		if next = send(step); next.Error.Message != errUnavailable.Message {
			break
		}
		require.True(t, time.Now().Before(deadline), o.name)
	}
	if o.lossy && step > 0 && next.Error.Code != 0 {
		requireRejected(t, next, false, o.name)
		return true
	}
	require.Zero(t, next.Error.Code, "%s, step %d: %s", o.name, step, next.body)
	for i := step + 1; i < len(answers); i++ {
		r = next
		if next = send(i); next.Error.Message == errUnavailable.Message {
			return false
		}
	}
	require.Contains(t, next.body, target.done)
	return true
}

// TestLostAnswer: Redis has executed the command that opens a requestState, and its answer was lost.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for guardName, accepted := range map[string]bool{
		"stored": false, // the state has gone with the answer
		"once":   true,  // the storage finds out that the record is its own
	} {
		link := redistest.StartLossyLink(t, redistest.Start(t).Addr())
		client := redis.NewClient(&redis.Options{Addr: link.Addr(), ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		server := newServer(guards[guardName](t, session.NewRedisStorage(client, time.Hour)))
		c := raw{t: t, url: serve(t, handler(t, server, true)), token: alice}
		target := targets()[0]
		sealed := c.call(target.method, target.params).Result.RequestState
		// The server knows the script now: otherwise it would be the answer "no such script" that is lost.
		sealed = c.call(target.method, repeated(target.params, sealed, "a")).Result.RequestState
		require.NotEmpty(t, sealed)

		link.LoseNextReply()
		r := c.call(target.method, repeated(target.params, sealed, "a"))
		if accepted {
			require.Equal(t, "input_required", r.Result.ResultType, r.body)
		} else {
			require.Equal(t, errUnavailable.Message, r.Error.Message, r.body)
		}
		requireRejected(t, c.call(target.method, repeated(target.params, sealed, "a")), false, guardName)
	}
}
