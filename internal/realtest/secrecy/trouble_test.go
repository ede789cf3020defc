package secrecy

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/redistest"
)

// trouble is a server.
type trouble struct {
	addr  string
	begin func(client *redis.Client, s *session.Session) // when a session is stored, if that works
}

// troubles are real servers in trouble, and what only looks like a server.
var troubles = map[string]func(*testing.T, *session.Session) trouble{
	"none": func(t *testing.T, _ *session.Session) trouble { return trouble{addr: redistest.Start(t).Addr()} },
	"values that are corrupt": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, s *session.Session) {
			for key, value := range storedIn(t, client) {
				client.Set(t.Context(), key, value[:len(value)-1]+s.ID(), time.Minute)
			}
		}}
	},
	"values of another": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, s *session.Session) {
			for key, value := range storedIn(t, client) {
				client.Set(t.Context(), key, strings.ReplaceAll(value, s.ID(), s.Principal()), time.Minute)
			}
		}}
	},
	"values of another type": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, s *session.Session) {
			for key := range storedIn(t, client) {
				client.Del(t.Context(), key)
				client.LPush(t.Context(), key, s.ID())
			}
		}}
	},
	"events that are corrupt": func(t *testing.T, s *session.Session) trouble {
		server := redistest.Start(t)
		publish := server.Client(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for t.Context().Err() == nil {
				_ = publish.Publish(t.Context(), "session:!events:0", "C"+s.ID()).Err()
				time.Sleep(time.Millisecond)
			}
		}()
		t.Cleanup(func() { <-ended })
		return trouble{addr: server.Addr()}
	},
	"a server that is gone": func(t *testing.T, _ *session.Session) trouble {
		server := redistest.Start(t)
		return trouble{server.Addr(), func(*redis.Client, *session.Session) { server.Kill() }}
	},
	"a server that hangs": func(t *testing.T, _ *session.Session) trouble {
		server := redistest.Start(t)
		return trouble{server.Addr(), func(*redis.Client, *session.Session) { server.Pause() }}
	},
	"a replica": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, _ *session.Session) {
			client.ReplicaOf(t.Context(), "localhost", "1")
		}}
	},
	"no memory": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, _ *session.Session) {
			client.ConfigSet(t.Context(), "maxmemory", "1")
		}}
	},
	"no permission": func(t *testing.T, _ *session.Session) trouble {
		return trouble{redistest.Start(t).Addr(), func(client *redis.Client, _ *session.Session) {
			client.Do(t.Context(), "ACL", "SETUSER", "default", "resetkeys", "resetchannels")
		}}
	},
	"errors that tell everything": liar(func(args string) string { return "-ERR unknown command " + args }),
	"errors of a known kind":      liar(func(args string) string { return "-ERR wrong number of arguments for " + args }),
	"errors without a code":       liar(func(args string) string { return "-" + args }),
	"redirections":                liar(func(args string) string { return "-MOVED 7 " + args + ":7" }),
	"answers that tell the call":  liar(func(args string) string { return "+" + args }),
	"answers that are numbers":    liar(func(string) string { return ":7" }),
	"answers that are lists":      liar(func(args string) string { return "*2\r\n+" + args + "\r\n-ERR " + args }),
	"answers that are no answers": liar(func(args string) string { return args }),
	"answers that are cut off":    liar(func(args string) string { return fmt.Sprintf("$%d\r\n%s", 2*len(args), args) }),
	"a hang-up":                   liar(nil),
}

// storedIn returns the values of all sessions by their keys.
func storedIn(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if value, err := client.Get(t.Context(), key).Result(); err == nil {
			found[key] = value
		}
	}
	return found
}

// liar is what only looks like a server: it answers each command by a function of its arguments, nil for not at all.
func liar(answer func(args string) string) func(*testing.T, *session.Session) trouble {
	return func(t *testing.T, _ *session.Session) trouble {
		return trouble{addr: netfault.Serve(t, func(conn net.Conn) { lie(conn, answer) })}
	}
}

// lie takes each packet for a command. It ends with the client.
func lie(conn net.Conn, answer func(args string) string) {
	for buf := make([]byte, 1<<16); ; {
		size, err := conn.Read(buf)
		if err != nil {
			return
		}
		words := strings.Fields(string(buf[:size]))
		reply := "+OK"
		switch {
		case slices.Contains(words, "hello"):
			reply = "-ERR unknown command 'hello'"
		case slices.Contains(words, "client"):
		case answer == nil:
			return
		default:
			reply = answer(strings.Join(words, " "))
		}
		if _, err := conn.Write([]byte(reply + "\r\n")); err != nil {
			return
		}
	}
}
