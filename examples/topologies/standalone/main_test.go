package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestStandaloneWithTLSAndACL(t *testing.T) {
	server := redistest.Start(t, redistest.WithTLS(),
		redistest.WithConfig("user default off", "user app resetchannels on >secret ~session:* &session:!* +@all"))
	t.Setenv("REDIS_PASSWORD", "secret")
	args := []string{"-addr", server.Addr(), "-user", "app"}
	authority := authorityOf(t, server)

	var out bytes.Buffer
	require.NoError(t, run(t.Context(), append(args, "-ca", authority), &out))
	require.Regexp(t, `mode +leased`, out.String())
	require.Regexp(t, `loads answered locally +1000\n`, out.String())

	t.Setenv("REDIS_PASSWORD", "wrong")
	require.Error(t, run(t.Context(), append(args, "-ca", authority), io.Discard))
}

func TestNoServer(t *testing.T) {
	require.Error(t, run(t.Context(), []string{"-addr", "127.0.0.1:1"}, io.Discard))
	require.Error(t, run(t.Context(), []string{"-ca", os.DevNull}, io.Discard))
}

// authorityOf returns a file with the server's self-signed certificate.
func authorityOf(t *testing.T, server *redistest.Server) string {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Addr(), server.TLS())
	require.NoError(t, err)
	certificate := conn.ConnectionState().PeerCertificates[0]
	require.NoError(t, conn.Close())
	path := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}
