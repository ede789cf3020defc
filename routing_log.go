package session

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/nearcache"
)

// routingLog writes what a [RoutingStorage] logs. The cache calls it once for each change that lasts, and less often
// for what comes and goes.
type routingLog struct {
	logger            *slog.Logger
	maxStaleness, ttl time.Duration

	panickedAt atomic.Pointer[time.Time] // when a panic was logged last
}

// panicPause is the least time between two panics that are logged: a codec may panic at each load.
const panicPause = time.Minute

// panicked tells where a call of the remote has panicked. The panic's value may contain an id.
func (l *routingLog) panicked(err *nearcache.PanicError) {
	now, last := time.Now(), l.panickedAt.Load()
	if last != nil && now.Sub(*last) < panicPause || !l.panickedAt.CompareAndSwap(last, &now) {
		return
	}
	l.logger.LogAttrs(context.Background(), slog.LevelError, "session: a call of the remote panicked",
		slog.String("type", fmt.Sprintf("%T", err.Value)), slog.String("stack", string(err.Stack)))
}

// watch tells that change events begin to flow, or that they do not.
func (l *routingLog) watch(flows bool, err error) {
	if flows {
		l.info("session: change events flow, local sessions are served for as long as they do")
		return
	}
	l.warn("session: no change events, local sessions are served for a bounded time after they were fetched", err,
		slog.Duration("max_staleness", l.maxStaleness))
}

// noWatch tells that there will be no change events as long as this storage lives.
func (l *routingLog) noWatch(err error) {
	l.warn("session: there will be no change events, local sessions are served for a bounded time after they were fetched",
		err, slog.Duration("max_staleness", l.maxStaleness))
}

// refreshes tells that sessions cannot be renewed in the remote, or can be again. Nothing else tells of it: their local
// copies are served under the lease until their time is up.
func (l *routingLog) refreshes(work bool, err error) {
	if work {
		l.info("session: refreshes work again, sessions in use are kept alive in the remote")
		return
	}
	l.warn("session: refreshes fail, sessions in use will expire in the remote", err, slog.Duration("ttl", l.ttl))
}

func (l *routingLog) info(text string) { l.logger.LogAttrs(context.Background(), slog.LevelInfo, text) }

func (l *routingLog) warn(text string, err error, attr slog.Attr) {
	l.logger.LogAttrs(context.Background(), slog.LevelWarn, text, attr, slog.Any("error", err))
}

// whyLate says why change events do not flow although the watch goes on, as far as the remote knows.
func (rt *RoutingStorage) whyLate() error {
	cause := error(errs.SafeError("no proof has come in time that none is missing"))
	if remote, ok := rt.remote.(interface{ whyLate() error }); ok {
		if err := remote.whyLate(); err != nil {
			cause = errs.During("heartbeats fail", err)
		}
	}
	return opErrBecause("watch", ErrUnavailable, cause)
}

// whyNoWatcher says what a remote without a Watch is. Often it wraps one that has it, for traces say, and hides it
// without intent.
func whyNoWatcher(remote Storage) error {
	if inner := wrappedBy(remote); inner != nil {
		if _, ok := inner.(Watcher); ok {
			return errs.Reason("the remote, a %T, is no Watcher: it hides the capabilities of the %T in it", remote, inner)
		}
	}
	return errs.Reason("the remote, a %T, is no Watcher", remote)
}

// wrappedBy returns the storage that another one embeds in an exported field, as struct{ Storage } does, or nil.
func wrappedBy(remote Storage) Storage {
	value := reflect.Indirect(reflect.ValueOf(remote))
	if value.Kind() != reflect.Struct {
		return nil
	}
	for i := range value.NumField() {
		field := value.Field(i)
		if value.Type().Field(i).Anonymous && field.CanInterface() {
			if inner, ok := reflect.TypeAssert[Storage](field); ok && !isNil(inner) {
				return inner
			}
		}
	}
	return nil
}
