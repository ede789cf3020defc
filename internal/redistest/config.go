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
	adminName  = "redistest" // user and password for this package's own connections
)

// Option changes how a server is started.
type Option func(*config)

type config struct {
	lines []string
	mode  []string
	tls   bool
}

// WithConfig adds lines to redis.conf: "appendonly yes", or "user app on >secret ~session:* +get", for example.
func WithConfig(lines ...string) Option {
	return func(c *config) { c.lines = append(c.lines, lines...) }
}

// WithTLS makes the server accept TLS only, with a self-signed certificate: see [Server.TLS].
func WithTLS() Option {
	return func(c *config) { c.tls = true }
}

// TLS returns the configuration with which a client trusts the server, nil without [WithTLS].
func (s *Server) TLS() *tls.Config { return s.tls.Clone() }

// configure writes the configuration file, for now and for each Restart.
func (s *Server) configure(c *config) {
	s.t.Helper()
	port := strconv.Itoa(s.port)
	lines := []string{
		"bind " + host,
		`save ""`,
		"appendonly no",
		"user " + adminName + " on >" + adminName + " ~* &* +@all",
		// Serve a replica at once: by default the master waits five seconds for other replicas.
		"repl-diskless-sync-delay 0",
		// In a Cluster, a replica is not announced before the first ping from its master.
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
