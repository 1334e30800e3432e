package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"muster/shard"
)

// tlsFiles name the PEM files of mutual TLS; none of them means plaintext.
type tlsFiles struct{ cert, key, ca *string }

func tlsFlags(flags *pflag.FlagSet) *tlsFiles {
	return &tlsFiles{
		cert: flags.String("cert", "", "PEM file of our certificate; with --key and --ca: mutual TLS"),
		key:  flags.String("key", "", "PEM file of its key, readable by the owner only"),
		ca:   flags.String("ca", "", "PEM file of the authority that signed everyone's certificate"),
	}
}

// load returns nil for plaintext.
func (f *tlsFiles) load() (*tls.Config, error) {
	if *f.cert == "" && *f.key == "" && *f.ca == "" {
		return nil, nil
	}
	if *f.cert == "" || *f.key == "" || *f.ca == "" {
		return nil, shard.Invalid("cert, key and ca are all needed, or none of them")
	}
	info, err := os.Stat(*f.key)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, shard.Invalid("key %s can be read by others: run chmod 600 on it", *f.key)
	}
	pair, err := tls.LoadX509KeyPair(*f.cert, *f.key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(*f.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", *f.ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots}, nil
}
