package requeststate

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/digest"
	"github.com/seed34611480/session/internal/errs"
)

// Sealed is a [Guard] that gives states to the client, encrypted and authenticated with AES-256-GCM and bound to the
// request. Nothing is stored, and any replica with the same keys can open it. It hides what the state is, but not how
// long.
//
// Within its lifetime a requestState can be opened any number of times, by the principal that it is for: that is a
// replay, and only [Once] rules it out. Nor can a state be ended before its time.
type Sealed struct {
	options
	sealer *session.Sealer
}

// sealPurpose separates the keys of this package from others that are derived from the same ring.
const sealPurpose = "session/requeststate"

// NewSealed returns a guard with the keys of a ring. Servers that must not open each other's states need rings of their
// own. When keys are rotated, an old one has to stay in the ring for the lifetime of a state after it was the first
// one. It panics when ring is nil.
func NewSealed(ring *session.KeyRing, opts ...Option) *Sealed {
	if ring == nil {
		panic("requeststate: NewSealed: the key ring is nil")
	}
	return &Sealed{options: apply(opts), sealer: ring.Sealer(sealPurpose)}
}

// encoding is strict: with spare bits in the last character one requestState would have several spellings. decode
// refuses the line breaks that the package skips, for the same reason.
var encoding = base64.RawURLEncoding.Strict()

func decode(requestState string) ([]byte, error) {
	if strings.ContainsAny(requestState, "\r\n") {
		return nil, rejected("it is not base64")
	}
	sealed, err := encoding.DecodeString(requestState)
	if err != nil {
		return nil, rejected("it is not base64")
	}
	return sealed, nil
}

const expirySize = 8

// Seal implements [Guard].
func (g *Sealed) Seal(_ context.Context, binding Binding, state []byte) (string, error) {
	bound, err := binding.digest(&g.options)
	if err != nil {
		return "", err
	}
	message := make([]byte, 0, expirySize+len(state))
	message = binary.BigEndian.AppendUint64(message, uint64(time.Now().Add(g.lifetime).UnixMilli()))
	message = append(message, state...)
	return encoding.EncodeToString(g.sealer.Seal(message, []byte(bound))), nil
}

// Open implements [Guard]. Further errors, with [Once], are those of [session.Creator], such as
// [session.ErrUnavailable].
func (g *Sealed) Open(ctx context.Context, binding Binding, requestState string) ([]byte, error) {
	bound, err := binding.digest(&g.options)
	if err != nil {
		return nil, err
	}
	sealed, err := decode(requestState)
	if err != nil {
		return nil, err
	}
	message, err := g.sealer.Open(sealed, []byte(bound))
	if err != nil {
		return nil, rejected(errs.Shown(err))
	}
	if len(message) < expirySize {
		return nil, rejected("it is too short")
	}
	expiresAt := time.UnixMilli(int64(binary.BigEndian.Uint64(message))) //nolint:gosec // as Seal has written it
	if !time.Now().Before(expiresAt) {
		return nil, rejected("it has expired")
	}
	if err := g.use(ctx, sealed, expiresAt); err != nil {
		return nil, err
	}
	return message[expirySize:], nil
}

const (
	usedLabel = "github.com/seed34611480/session/requeststate used"

	// clockMargin is how much the clocks of replicas and of the storage may differ: a record that is gone while another
	// replica still accepts the requestState would allow a second use.
	clockMargin = time.Minute
)

// use records that a sealed state was opened. It is called for what was found to be authentic, so it does not help to
// fill the storage.
func (g *Sealed) use(ctx context.Context, sealed []byte, expiresAt time.Time) error {
	if g.once == nil {
		return nil
	}
	now := time.Now()
	err := session.Create(ctx, g.once, session.FromRecord(session.Record{
		ID: "requeststate:" + digest.Hex(usedLabel, string(sealed)), Type: storedType,
		CreatedAt: now, UpdatedAt: now,
		ExpiresAt: expiresAt.Add(clockMargin), IdleTimeout: session.NoIdleTimeout,
	}))
	if errors.Is(err, session.ErrExists) {
		return rejected("it was used before")
	}
	return err
}
