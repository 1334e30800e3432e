package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/client"
	"muster/entity"
	"muster/node"
	"muster/shard"
)

// An authority issues certificates into PEM files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.crt and NAME.key, signed by the authority, or by itself when it has none yet.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer))
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key)))
	return must(x509.ParseCertificate(der)), key
}

func (a *authority) identity(name, uri string) {
	a.issue(name, &x509.Certificate{
		URIs: []*url.URL{must(url.Parse(uri))}, IPAddresses: []net.IP{loopback()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.path(name), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A group whose nodes are configured from files and speak TLS serves its members and a client with a certificate, and nobody
// without.
func TestTLS(t *testing.T) {
	c := newCluster(t, 3, entity.Types(visits)...)
	a := newAuthority(t)
	for i := range c.configs {
		id := string(c.configs[i].ID)
		a.identity(id, "spiffe://prod/server/"+id)
		text := fmt.Sprintf("[tls]\ncert = %q\nkey = %q\nca = %q\n", a.path(id+".crt"), a.path(id+".key"), a.path("ca.crt"))
		loaded, err := node.LoadConfig(write(t, text))
		if err != nil {
			t.Fatal(err)
		}
		c.configs[i].TLS = loaded.TLS
	}
	c.start()
	c.ready()

	a.identity("carol", "spiffe://prod/client/carol")
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	pair := must(tls.LoadX509KeyPair(a.path("carol.crt"), a.path("carol.key")))
	addr := c.nodes[0].Addr()
	outside, err := client.Open(c.context(), client.Config{
		Addrs: []string{addr}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	for want, s := range append(c.senders(), outside) {
		if n, err := Visit.Ask(c.context(), s, "page", struct{}{}); err != nil || n != want+1 {
			t.Errorf("visit %d: %d, %v", want+1, n, err)
		}
	}
	if err := outside.SetRequiredQuorum(c.context(), 1); shard.CodeOf(err) != shard.CodeWrongGroup {
		t.Errorf("a client's certificate changed the quorum: %v", err)
	}
	if _, err := client.Connect(c.context(), addr); shard.CodeOf(err) != shard.CodeUnavailable {
		t.Errorf("plaintext: %v", err)
	}
}

// A node whose address answers with the certificate of another node is not admitted, though its calls carry its own. With one certificate for
// both it is.
func TestTheCertificateAtTheAddressNamesTheNode(t *testing.T) {
	c := newCluster(t, 1, entity.Types(visits)...)
	a := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	of := func(name string) *tls.Config {
		a.identity(name, "spiffe://prod/server/"+name)
		pair := must(tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key")))
		return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots}
	}
	c.configs[0].TLS = of("n1")
	c.start()
	joins := node.Config{ID: "n2", Addr: loopback().String() + ":0", Dir: t.TempDir(), Seeds: c.configs[0].Seeds, Logger: logger(t, "n2"), TLS: of("n3")}
	own := of("n2")
	joins.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own.Certificates[0], nil }
	n, err := node.Start(c.context(), joins)
	if shard.CodeOf(err) != shard.CodeWrongGroup || !strings.Contains(err.Error(), `the certificate of server "n3" does not speak for node "n2"`) {
		t.Errorf("%v", err)
	}
	if n != nil {
		n.Kill()
	}
	if m, known := c.nodes[0].View().Members["n2"]; known && err != nil {
		t.Errorf("it is a member: %+v", m)
	}
	joins.TLS = own
	if n, err = node.Start(c.context(), joins); err != nil {
		t.Fatal(err)
	}
	n.Kill()
}

// Where the certificate at a seed's address names another node than the one that answers, no group is formed with it, and the others say why.
func TestTheCertificateOfAFounderNamesIt(t *testing.T) {
	c := newCluster(t, 3, entity.Types(visits)...)
	a := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	pair := func(name string) tls.Certificate {
		a.identity(name, "spiffe://prod/server/"+name)
		return must(tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key")))
	}
	for i := range c.configs {
		own := pair(string(c.configs[i].ID))
		c.configs[i].TLS = &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots, ClientCAs: roots}
		c.configs[i].TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	}
	c.configs[2].TLS.Certificates = []tls.Certificate{pair("n4")}
	ctx, cancel := context.WithTimeout(c.context(), 3*time.Second)
	defer cancel()
	c.each(func(i int) {
		n, err := node.Start(ctx, c.configs[i])
		if n != nil {
			n.Kill()
		}
		if said := err != nil && strings.Contains(err.Error(), `the certificate of server "n4" does not speak for node "n3"`); err == nil || said != (i < 2) {
			t.Errorf("%s: %v", c.configs[i].ID, err)
		}
	})
}

func TestKeysAreKeptSecret(t *testing.T) {
	a := newAuthority(t)
	if err := os.Chmod(a.path("ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[tls]\ncert = %q\nkey = %q\nca = %q\n", a.path("ca.crt"), a.path("ca.key"), a.path("ca.crt"))
	if _, err := node.LoadConfig(write(t, text)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}
