package redistest

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	host       = "127.0.0.1"
	configFile = "redis.conf"
	logFile    = "log"
	adminName  = "redistest" // the user that this package itself connects as, and its password
)

// Option changes how a server is started.
type Option func(*config)

type config struct {
	lines []string
	mode  []string
	tls   bool
}

// WithConfig adds lines of redis.conf: "appendonly yes", or "user app on >secret ~session:* +get", for example.
func WithConfig(lines ...string) Option {
	return func(c *config) { c.lines = append(c.lines, lines...) }
}

// WithTLS makes the server speak TLS only, with a certificate of its own authority: see [Server.TLS].
func WithTLS() Option {
	return func(c *config) { c.tls = true }
}

// TLS returns what a client needs to trust the server, nil without [WithTLS].
func (s *Server) TLS() *tls.Config { return s.tls.Clone() }

// configure writes the file that the server is started with, now and at each Restart.
func (s *Server) configure(c *config) {
	s.t.Helper()
	port := strconv.Itoa(s.port)
	lines := []string{
		"bind " + host,
		`save ""`,
		"appendonly no",
		"user " + adminName + " on >" + adminName + " ~* &* +@all",
		// A replica is served at once, and not after other replicas had five seconds to come along.
		"repl-diskless-sync-delay 0",
		// Nor does a Cluster name a replica to anybody before a first ping from its master.
		"repl-ping-replica-period 1",
	}
	if c.tls {
		s.tls = writeCertificate(s.t, s.dir)
		lines = append(lines,
			"port 0", "tls-port "+port, "tls-auth-clients no",
			"tls-cert-file "+certificateFile, "tls-key-file "+keyFile, "tls-ca-cert-file "+certificateFile)
	} else {
		lines = append(lines, "port "+port)
	}
	lines = append(lines, c.lines...)

	text := strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(s.dir, configFile), []byte(text), 0o600); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}
