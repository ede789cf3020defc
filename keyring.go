package session

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/xaes"
)

// Key is a key of a [KeyRing]. Formatting or logging it shows nothing, and marshalling it to JSON is an error. It can
// be unmarshalled from JSON, with the secret in base64. Do not keep it in an unexported field of a struct that is
// formatted: package fmt then shows it all the same.
type Key struct {
	hidden

	// ID names the key in everything that it seals, where everyone can read it: 1 to 32 letters, digits, dots, dashes and
	// underscores. The month in which the key was made is a good one.
	ID string `json:"id"`

	// Secret is 32 bytes from a secure source of random bytes, as crypto/rand or openssl rand -base64 32 make them. A
	// password will not do.
	Secret []byte `json:"secret"`
}

// KeyRing has the keys that seal what leaves the process. The first one seals, all of them open. It never changes, and
// is safe for concurrent use. Formatting or logging it shows nothing, and marshalling it to JSON is an error.
//
// Rotate keys in three steps, each of which is a deployment that may be rolling: put the new key behind the first one
// on all replicas; make it the first one; remove the old one when nothing is left that it has sealed. What the last
// step means for sessions is at [SealedCodec].
type KeyRing struct {
	hidden

	keys secret[[]Key]
}

// keySize is that of AES-256.
const keySize = xaes.KeySize

// NewKeyRing returns a ring with the given keys, whose secrets it copies. It is an error when there is no key, an id is
// malformed, a secret does not have 32 bytes or is one byte repeated, or two keys have the same id or secret. The error
// names a key by its place only: its text contains no id and no secret.
func NewKeyRing(keys ...Key) (*KeyRing, error) {
	if len(keys) == 0 {
		return nil, errors.New("session: NewKeyRing: there is no key")
	}
	var own []Key
	for i, k := range keys {
		if err := checkKey(k, own); err != nil {
			return nil, fmt.Errorf("session: NewKeyRing: key %d of %d: %w", i+1, len(keys), err)
		}
		own = append(own, Key{ID: k.ID, Secret: bytes.Clone(k.Secret)})
	}
	return &KeyRing{keys: secretly(own)}, nil
}

// checkKey checks a key that is to follow others.
func checkKey(k Key, others []Key) error {
	switch {
	case !validKeyID(k.ID):
		return errs.Reason("the id is not 1 to %d letters, digits, dots, dashes and underscores", maxKeyID)
	case len(k.Secret) != keySize:
		return errs.Reason("the secret has %d bytes, it must have %d", len(k.Secret), keySize)
	case bytes.Count(k.Secret, k.Secret[:1]) == keySize:
		return errs.SafeError("the secret is one byte repeated")
	}
	for i, other := range others {
		if other.ID == k.ID || bytes.Equal(other.Secret, k.Secret) {
			return errs.Reason("it has the id or the secret of key %d", i+1)
		}
	}
	return nil
}

const maxKeyID = 32

func validKeyID(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return len(id) >= 1 && len(id) <= maxKeyID && strings.Trim(id, allowed) == ""
}

// Sealer returns what seals and opens for one purpose. What was sealed for another purpose it does not open, because it
// derives a key of its own from each key of the ring. Purposes that begin with "session/" are used by this package.
// Making a Sealer takes microseconds for each key: make it once.
func (r *KeyRing) Sealer(purpose string) *Sealer {
	keys := make(map[string]*xaes.Key)
	for _, k := range r.keys() {
		derived, err := hkdf.Key(sha256.New, k.Secret, nil, "github.com/seed34611480/session sealer: "+purpose, keySize)
		if err != nil {
			panic(err) // cannot happen: a key of this size can be derived
		}
		keys[k.ID] = xaes.New(derived)
	}
	return &Sealer{first: r.keys()[0].ID, keys: secretly(keys)}
}

// Sealer seals and opens for one purpose, with AES-256-GCM under a key that is derived for each message
// ([XAES-256-GCM]). Therefore one key may seal any number of messages: 2^80 until a random nonce is likely to come
// twice, not 2^32. It is safe for concurrent use.
//
// What is sealed begins with a version byte, the length of the key's id, and that id; then come a nonce of 24 bytes,
// the encrypted message, and a tag of 16 bytes. It hides neither the length of the message nor which key was used.
//
// [XAES-256-GCM]: https://c2sp.org/XAES-256-GCM
type Sealer struct {
	hidden

	first string // the id of the key that seals
	keys  secret[map[string]*xaes.Key]
}

const (
	sealedVersion = 1 // the first byte of what is sealed
	beforeKeyID   = 2 // that, and the length of the key's id
)

// Seal returns a message that only Open of a Sealer for the same purpose can read, and only with the same context: what
// the message belongs to, such as a user. The context is not part of what is sealed, and may be nil. Seal keeps neither
// of the two, and makes something else of the same message each time.
func (s *Sealer) Seal(message, context []byte) []byte { return s.seal("", message, context) }

// seal is Seal with a prefix in front, which is not part of what is sealed.
func (s *Sealer) seal(prefix string, message, context []byte) []byte {
	b := make([]byte, 0, len(prefix)+beforeKeyID+len(s.first)+len(message)+xaes.Overhead)
	b = append(b, prefix...)
	b = append(b, sealedVersion, byte(len(s.first))) //nolint:gosec // at most maxKeyID
	b = append(b, s.first...)
	return s.keys()[s.first].Seal(b, message, bound(b[len(prefix):], context))
}

// Why Open refuses.
const (
	errNotSealed  = errs.SafeError("the value is not sealed")
	errUnknownKey = errs.SafeError("the value is sealed with an unknown key")
	errAltered    = errs.SafeError("the sealed value was altered, or was sealed for something else")
)

// Open returns the message that was sealed for the same context. Otherwise the error matches [ErrCorrupt], and says
// whether the input is not sealed at all, was sealed with a key that is not in the ring, or was altered or belongs to
// another purpose or context. That is for a log: do not tell it to those who have sent the input.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	message, err := s.open(sealed, context)
	if err != nil {
		return nil, opErrBecause("open", ErrCorrupt, err)
	}
	return message, nil
}

func (s *Sealer) open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < beforeKeyID || sealed[0] != sealedVersion || len(sealed) < beforeKeyID+int(sealed[1]) {
		return nil, errNotSealed
	}
	header, rest := sealed[:beforeKeyID+int(sealed[1])], sealed[beforeKeyID+int(sealed[1]):]
	key := s.keys()[string(header[beforeKeyID:])]
	if key == nil {
		return nil, errUnknownKey
	}
	message, err := key.Open(rest, bound(header, context))
	if err != nil {
		return nil, errAltered
	}
	return message, nil
}

// bound returns the additional data of a message. The header says how long it is itself, so no two pairs are the same.
func bound(header, context []byte) []byte { return slices.Concat(header, context) }

// secret keeps a value in a closure, where no formatting finds it. The methods of hidden are not enough: package fmt
// calls no methods of what is in an unexported field, and shows what is in there.
type secret[T any] func() T

func secretly[T any](value T) secret[T] { return func() T { return value } }

// hidden is part of what must not be shown in a log, by accident or not.
type hidden struct{}

const hiddenText = "(hidden)"

// Format writes nothing of the value, whatever the verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenText) }

// LogValue is Format for structured logs.
func (hidden) LogValue() slog.Value { return slog.StringValue(hiddenText) }

// MarshalJSON is an error.
func (hidden) MarshalJSON() ([]byte, error) {
	return nil, opErrBecause("marshal", errors.ErrUnsupported, errs.SafeError("what has keys is not for others"))
}
