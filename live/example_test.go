package live_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/live"
)

// startBackend stands for the server behind a proxy: it sends back each line.
func startBackend() net.Listener {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener
}

// A connection to the backend of each session. It is closed as soon as the session ends, although no request comes.
func Example() {
	backend := startBackend()
	defer backend.Close()
	sessions := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share

	dial := func(ctx context.Context, s *session.Session) (net.Conn, error) {
		address, _ := s.Get("backend")
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	closed := make(chan live.Reason)
	hangUp := func(conn net.Conn, reason live.Reason) {
		conn.Close()
		closed <- reason
	}
	sameBackend := func(before, after *session.Session) bool {
		old, _ := before.Get("backend")
		now, _ := after.Get("backend")
		return old == now
	}
	conns := live.New(sessions, dial, hangUp, live.WithSame(sameBackend), live.WithMaxObjects(1000))
	defer conns.Close()

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c").With("backend", backend.Addr().String()))

	conn, err := conns.Get(ctx, "3f2c") // dials
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(conn.Object, "hello")
	answer, _ := bufio.NewReader(conn.Object).ReadString('\n')
	fmt.Print(answer)
	conn.Release() // it stays open for the next request

	_ = sessions.Delete(ctx, "3f2c") // here, or on any replica
	fmt.Println(<-closed)

	_, err = conns.Get(ctx, "3f2c")
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output:
	// hello
	// removed
	// true
}

// A stream holds its object for long. It ends when the object has to go, and keeps its session alive until then.
func ExampleRef_Done() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(30 * time.Minute)
	compile := func(_ context.Context, s *session.Session) (string, error) {
		return "the policy of " + s.Principal(), nil
	}
	policies := live.New(sessions, compile, nil) // there is nothing to close
	defer policies.Close()

	stream := func(id string, begun chan<- string) error {
		policy, err := policies.Get(ctx, id)
		if err != nil {
			return err
		}
		defer policy.Release()
		alive := time.NewTicker(5 * time.Minute)
		defer alive.Stop()
		begun <- policy.Object
		for {
			select {
			case <-policy.Done():
				return fmt.Errorf("the session was %s", policy.Reason())
			case <-alive.C:
				if again, err := policies.Get(ctx, id); err == nil { // loads the session
					again.Release()
				}
			}
		}
	}

	_ = sessions.Store(ctx, session.New("3f2c").WithPrincipal("user-1"))
	begun, ended := make(chan string), make(chan error)
	go func() { ended <- stream("3f2c", begun) }()
	fmt.Println(<-begun)
	_ = sessions.Delete(ctx, "3f2c")
	fmt.Println(<-ended)
	// Output:
	// the policy of user-1
	// the session was removed
}
