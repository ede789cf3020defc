package demo

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
)

// Access holds the credentials and the TLS flag, the same for all servers of a topology.
type Access struct {
	User, Password string

	ca string
}

// AccessFlags adds the flags for an Access. The password comes from the environment, because the arguments of a process
// are visible to every user of the machine.
func AccessFlags(flags *flag.FlagSet) *Access {
	a := &Access{Password: os.Getenv("REDIS_PASSWORD")}
	flags.StringVar(&a.User, "user", os.Getenv("REDIS_USER"),
		"the ACL `name`, default $REDIS_USER; its password is $REDIS_PASSWORD")
	flags.StringVar(&a.ca, "ca", os.Getenv("REDIS_CA"),
		"use TLS and trust the authorities in this PEM `file`, default $REDIS_CA; without it there is no TLS")
	return a
}

// TLS returns the client's TLS configuration, nil if TLS is off.
func (a *Access) TLS() (*tls.Config, error) {
	if a.ca == "" {
		return nil, nil //nolint:nilnil // Redis clients take nil for no TLS
	}
	text, err := os.ReadFile(a.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", a.ca)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
