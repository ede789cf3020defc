package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// A command whose reply was lost may have been executed. What ended decides what is known of it, and so whether it is
// sent again:
//
//	                    | the server closed the connection  | a time-out, or anything else
//	                    | it was executed, or never will be | it may still arrive
//	Get, Unchanged      | yes                               | yes
//	Put with a revision | yes                               | yes: its condition is true once only
//	Put without one     | yes                               | a script looks for its token, and writes nothing
//	Delete              | yes                               | yes
//	Take                | no: its value has gone with the reply
//
// Why a Put without a revision only asks after a time-out:
//
//  1. Create is sent, and delayed. The second Create is executed, and the caller hears that it has succeeded.
//  2. The caller deletes the value: a lock is given back, a user logs out.
//  3. The first Create arrives: the value is there again, and no caller knows.
//
// It assumes that nothing on the way holds requests back, and passes them on after it has closed the connection.

// loss says how the reply to a command was lost.
type loss int

const (
	notLost loss = iota // it has come, or the command was never sent; or an error of unknown origin says neither
	closed              // the server has closed the connection
	overdue             // the command may still arrive
)

// lossOf tells from the error of a command how its reply was lost.
func lossOf(err error) loss {
	network, _ := errors.AsType[*net.OpError](err)
	switch {
	case answered(err), errors.Is(err, ErrTooFewReplicas), network != nil && network.Op == "dial":
		return notLost
	case isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE):
		return closed
	case isAny(err, context.DeadlineExceeded, context.Canceled, net.ErrClosed):
		return overdue // net.ErrClosed: this side has closed the connection
	}
	if _, ok := errors.AsType[net.Error](err); ok { // time-outs, and what systems say of broken routes
		return overdue
	}
	return notLost
}

// answered reports whether a server has replied, be it with an error.
func answered(err error) bool {
	_, reply := errors.AsType[redis.Error](err)
	return err == nil || reply
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// settle makes one attempt through the client, and if its reply is lost, another one, on a connection that has just
// answered. An attempt on no connection goes through the client. It learns how the reply before it was lost, and so
// does the caller: what a repetition answers is about a state that the first attempt may have changed.
func (s *Store) settle(
	ctx context.Context, key string, attempt func(on *redis.Conn, before loss) (any, error),
) (reply any, before loss, err error) {
	reply, err = attempt(nil, notLost)
	before = lossOf(err)
	if before == notLost || ctx.Err() != nil {
		return reply, notLost, err
	}
	if err := s.afresh(ctx, key, func(on *redis.Conn) { reply, err = attempt(on, before) }); err != nil {
		return nil, before, err
	}
	if hasCode(err, "MOVED", "ASK") { // nothing was executed, and the client of a Cluster follows
		reply, err = attempt(nil, before)
	}
	return reply, before, err
}

// afresh calls f with a connection that has just answered, to the server that has a key.
func (s *Store) afresh(ctx context.Context, key string, f func(on *redis.Conn)) error {
	server, err := s.server(ctx, key)
	if err != nil {
		return noAnswer(err)
	}
	conn, err := answering(ctx, server)
	if err != nil {
		return noAnswer(err)
	}
	defer func() { _ = conn.Close() }() // which returns it to the pool
	f(conn)
	return nil
}

// server returns the client of the server that has a key.
func (s *Store) server(ctx context.Context, key string) (*redis.Client, error) {
	if cluster, ok := s.base.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	client, _ := s.base.(*redis.Client)
	return client, nil
}

// answering returns a connection that has just answered. The idle ones in the pool may all be dead: through TLS, a
// client does not notice that the server has closed them. Each that is found dead leaves the pool, and when none is
// left the client makes a new one. The question is HELLO, because it needs no permission; an error is an answer, too.
func answering(ctx context.Context, server *redis.Client) (*redis.Conn, error) {
	for idle := int(server.PoolStats().IdleConns); ; idle-- {
		conn := server.Conn()
		err := conn.Process(ctx, atMostOnce{redis.NewCmd(ctx, "hello")})
		if answered(err) {
			return conn, nil
		}
		_ = conn.Close()
		if lossOf(err) != closed || idle <= 0 {
			return nil, err
		}
	}
}

const errUnsettled = errs.SafeError(
	"the reply was lost, and what is stored now does not tell whether the write took place")
