package session

import "fmt"

const defaultMaxSize = 1 << 20

// MaxSizeOption is an option of every storage that limits the size of a session, see [WithMaxSize].
type MaxSizeOption interface {
	MemoryOption
	RedisOption
}

// WithMaxSize limits the size of one session, in bytes: larger ones are refused with [ErrTooLarge]. RedisStorage counts
// the encoded session, MemoryStorage the bytes that the session holds. 0 means the default, 1 MiB. It panics when bytes
// is negative.
func WithMaxSize(bytes int) MaxSizeOption {
	if bytes < 0 {
		panic(fmt.Sprintf("session: WithMaxSize(%d): the limit cannot be negative", bytes))
	}
	if bytes == 0 {
		bytes = defaultMaxSize
	}
	return maxSize(bytes)
}

type maxSize int

func (n maxSize) applyMemory(m *MemoryStorage) { m.maxSize = int(n) }
func (n maxSize) applyRedis(o *redisOptions)   { o.maxSize = int(n) }
