package sessiontest_test

import (
	"testing"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/sessiontest"
)

// The test of a storage of one's own, which is run by "go test". The fields of Subject that are left out here let the
// suite check more.
func ExampleRun() { //nolint:testableexamples // its code is in a test, which needs a testing.T
	newMyStorage := func(ttl time.Duration) session.Storage { return session.NewMemoryStorage(ttl) } // yours

	// func TestMyStorageConforms(t *testing.T)
	_ = func(t *testing.T) {
		sessiontest.Run(t, func(t *testing.T) sessiontest.Subject {
			const ttl = time.Second
			return sessiontest.Subject{Storage: newMyStorage(ttl), TTL: ttl}
		})
	}
}
