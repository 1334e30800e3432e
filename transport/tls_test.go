package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes the configuration of a holder of the named SPIFFE identities.
func (a *authority) issue(t *testing.T, expires time.Time, uris ...string) *tls.Config {
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: expires,
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: a.pool, ClientCAs: a.pool,
	}
}

func (a *authority) ok(t *testing.T, uri string) *tls.Config {
	return a.issue(t, time.Now().Add(time.Hour), uri)
}

func withTLS(c *tls.Config) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.TLS = c }
}

// unseen hides the certificate from whoever looks at the configuration beforehand.
func unseen(c *tls.Config) *tls.Config {
	c = c.Clone()
	shown := &c.Certificates[0]
	c.Certificates = nil
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown, nil }
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil }
	return c
}

// A node with a certificate that nobody would take for its own hears so before it listens.
func TestTLSOwnCertificate(t *testing.T) {
	ca := newAuthority(t)
	for uri, want := range map[string]string{
		"spiffe://prod/server/a": "",
		"spiffe://prod/server/b": `names server "b" of prod: that of node a has to name spiffe://prod/server/a`,
		"spiffe://prod/client/a": `names client "a" of prod: that of node a has to name spiffe://prod/server/a`,
		"https://prod/server/a":  "our own certificate opens nothing: the certificate must name one spiffe://GROUP/ROLE/NAME, it names 0",
	} {
		err := transport.Config{Node: "a", Advertise: "127.0.0.1:0", TLS: ca.ok(t, uri)}.Validate()
		if want == "" && err != nil || want != "" && (shard.CodeOf(err) != shard.CodeInvalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
	}
}

// Of two groups whose certificates one authority signs, neither's open anything of the other: not to its nodes, and not to its operators.
func TestTLSOtherGroup(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	for name, cfg := range map[string]*tls.Config{ // what the caller does not look at itself the node does
		"looked at by the caller": ca.ok(t, "spiffe://test/admin/dave"),
		"looked at by the node":   unseen(ca.ok(t, "spiffe://test/admin/dave")),
	} {
		if _, err := hello(t, client(t, a.Addr(), transport.ClientOptions{TLS: cfg, Group: "g1"})); err == nil || !strings.Contains(err.Error(), "spiffe://test") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := start(t, "b", "g1", withTLS(unseen(ca.ok(t, "spiffe://test/server/b"))))
	if _, err := b.RaftLayer().Dial(raft.ServerAddress(a.Addr()), patience); shard.CodeOf(err) != shard.CodeWrongGroup {
		t.Errorf("a Raft stream from another group: %v", err)
	}
	if _, err := hello(t, a.Peer(b.Addr())); err == nil {
		t.Error("a node of another group served a member's call")
	}
}

// Two members under mutual TLS: calls and Raft streams work, and the certificate vouches for the caller's id.
func TestTLSBetweenMembers(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	b := start(t, "b", "g1", withTLS(ca.ok(t, "spiffe://prod/server/b")))
	liar := start(t, "c", "g1", withTLS(unseen(ca.ok(t, "spiffe://prod/server/b"))))

	reply, err := hello(t, a.Peer(b.Addr()))
	if err != nil || reply.Addr != "a" {
		t.Errorf("a asked b: %v, %v", reply, err)
	}
	s, err := a.RaftLayer().Dial(raft.ServerAddress(b.Addr()), patience)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := hello(t, liar.Peer(a.Addr())); shard.CodeOf(typed(err)) != shard.CodeWrongGroup {
		t.Errorf("another's certificate: %v", err)
	}
	if _, err := liar.RaftLayer().Dial(raft.ServerAddress(a.Addr()), patience); shard.CodeOf(err) != shard.CodeWrongGroup {
		t.Errorf("another's certificate on a Raft stream: %v", err)
	}
}

// A client's certificate opens what clients may do and nothing else: no Raft stream, no data plane, no proposals, and it
// cannot pose as a server.
func TestTLSRoles(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	user, admin := ca.ok(t, "spiffe://prod/client/carol"), ca.ok(t, "spiffe://prod/admin/dave")

	c := client(t, a.Addr(), transport.ClientOptions{TLS: user, Group: "g1"})
	if _, err := hello(t, c); err != nil {
		t.Errorf("a client's hello: %v", err)
	}
	allowed := map[string]bool{"Hello": true, "Watch": true, "Arrive": true, "Inspect": true, "Consult": true, "Ask": true}
	eachMethod(func(method string, stream bool) {
		code := callCode(t, c, method, stream)
		if (code != shard.CodeWrongGroup) != allowed[method[strings.LastIndex(method, "/")+1:]] {
			t.Errorf("a client called %s: %q", method, code)
		}
	})
	op := wire.NewGroupClient(client(t, a.Addr(), transport.ClientOptions{TLS: admin, Group: "g1"}))
	if _, err := op.Administer(deadline(t), &wire.AdministerRequest{}); shard.CodeOf(typed(err)) != shard.CodeInvalid {
		t.Errorf("an admin's order did not reach the service, which is not there: %v", err)
	}
	if _, err := op.Propose(deadline(t), &wire.ProposeRequest{}); shard.CodeOf(typed(err)) != shard.CodeNotLeader {
		t.Errorf("an admin's proposal: %v", err)
	}

	poser := start(t, "b", "g1", withTLS(unseen(user)))
	if _, err := poser.RaftLayer().Dial(raft.ServerAddress(a.Addr()), patience); err == nil {
		t.Error("a client's certificate opened a Raft stream")
	}
	if _, err := hello(t, a.Peer(poser.Addr())); err == nil {
		t.Error("a client's certificate served a member's call")
	}
}

// Who has no fitting certificate, or no TLS 1.3, does not get past the handshake.
func TestTLSRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	foreign := other.ok(t, "spiffe://prod/client/x")
	foreign.RootCAs = ca.pool
	none := ca.ok(t, "spiffe://prod/client/x")
	none.Certificates = nil
	for name, cfg := range map[string]*tls.Config{
		"another authority": foreign,
		"no certificate":    none,
		"expired":           ca.issue(t, time.Now().Add(-time.Minute), "spiffe://prod/client/x"),
		"no identity":       ca.issue(t, time.Now().Add(time.Hour)),
		"two identities":    ca.issue(t, time.Now().Add(time.Hour), "spiffe://prod/client/x", "spiffe://prod/server/a"),
		"an unknown role":   ca.ok(t, "spiffe://prod/king/x"),
		"plaintext":         nil,
	} {
		if _, err := hello(t, client(t, a.Addr(), transport.ClientOptions{TLS: cfg})); err == nil {
			t.Errorf("%s: served", name)
		}
	}
	old := ca.ok(t, "spiffe://prod/client/x")
	old.MaxVersion, old.ServerName = tls.VersionTLS12, "127.0.0.1"
	if c, err := tls.Dial("tcp", a.Addr(), old); err == nil {
		c.Close()
		t.Error("TLS 1.2 is spoken")
	}
	plain, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.Write([]byte("\x01MSTR\x01\x02g1\x01a"))
	for {
		if _, err := readByte(plain); gone(err) {
			break
		} else if err != nil {
			t.Fatal("plaintext on the TLS port is kept open")
		}
	}
}

// A silent TLS connection is closed with the rest when the port closes, without a farewell it would have to wait for.
func TestTLSCloseIsPrompt(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	b := start(t, "b", "g1", withTLS(ca.ok(t, "spiffe://prod/server/b")))
	if _, err := a.RaftLayer().Dial(raft.ServerAddress(b.Addr()), patience); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	a.close(t)
	b.close(t)
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("closing took %s", took)
	}
}
