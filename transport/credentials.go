package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"muster/shard"
)

// serverTLS returns the listener's configuration: mutual TLS 1.3 only, without session tickets (a resumed session would
// skip checks of the certificate chain), and with the protocol name that gRPC clients insist on. A certificate is exchanged
// without a restart through GetCertificate and GetClientCertificate; a GetConfigForClient would undo all this and is dropped.
func serverTLS(c *tls.Config) *tls.Config {
	c = hardened(c)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.GetConfigForClient = nil
	if !slices.Contains(c.NextProtos, "h2") {
		c.NextProtos = append(slices.Clip(c.NextProtos), "h2")
	}
	return c
}

// clientTLS returns the configuration for dialing addr: beyond the usual checks the other side's certificate must be a
// server's of our group, so that no client can pose as one, nor a node of another group whose certificates the same authority signs.
func clientTLS(c *tls.Config, addr string) *tls.Config {
	own := domainOf(c)
	c = hardened(c)
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(addr)
	}
	users := c.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		who, err := identity(&state)
		if err != nil {
			return err
		}
		if who.Role != RoleServer {
			return shard.Errorf(shard.CodeWrongGroup, "%s answers with the certificate of a %s", addr, who.Role)
		}
		if err := who.within(own); err != nil {
			return err
		}
		if users != nil {
			return users(state)
		}
		return nil
	}
	return c
}

func hardened(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	c.SessionTicketsDisabled = true
	return c
}

// finished are the gRPC server credentials of a port: the demultiplexer has shaken hands before gRPC sees the connection,
// so ServerHandshake only hands over the state, and handlers see the peer's certificate.
type finished struct {
	credentials.TransportCredentials
}

var errClientSide = errors.New("transport: the port's credentials serve, they do not dial")

func (finished) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := nc.(*conn)
	if !ok || c.state == nil {
		return nc, plaintext{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
	}
	return nc, credentials.TLSInfo{
		State:          *c.state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (finished) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errClientSide
}

func (finished) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (f finished) Clone() credentials.TransportCredentials { return f }

func (finished) OverrideServerName(string) error { return errClientSide }

type plaintext struct{ credentials.CommonAuthInfo }

func (plaintext) AuthType() string { return "plaintext" }

// Role is what a certificate entitles its holder to.
type Role string

// The roles.
const (
	RoleServer Role = "server" // a member of the group: everything, Raft included
	RoleAdmin  Role = "admin"  // an operator: what clients may, and proposals
	RoleClient Role = "client" // asks, reads, barriers
)

// Identity is what a peer's certificate says of it, in one URI SAN: spiffe://GROUP/ROLE/NAME.
type Identity struct {
	Group string // the trust domain, in the words of whoever issued the certificate, one for all of a group; not the group's UUID
	Role  Role
	Name  string
}

// IdentityOf reads the identity from a verified leaf certificate. It fails unless exactly one SPIFFE URI of a known role
// is there, so that a certificate of the same authority made for something else opens nothing.
func IdentityOf(leaf *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range leaf.URIs {
		role, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		known := role == string(RoleServer) || role == string(RoleAdmin) || role == string(RoleClient)
		if u.Scheme == "spiffe" && u.Host != "" && known && name != "" {
			found = append(found, Identity{u.Host, Role(role), name})
		}
	}
	if len(found) != 1 {
		return Identity{}, shard.Errorf(shard.CodeWrongGroup,
			"the certificate must name one spiffe://GROUP/ROLE/NAME, it names %d", len(found))
	}
	return found[0], nil
}

// OwnIdentity is what a configuration's own certificate says of its holder. It is known unless the certificate is only chosen
// during a handshake, by GetCertificate or from several. It fails with CodeInvalid when the certificate would open nothing.
func OwnIdentity(c *tls.Config) (own Identity, known bool, err error) {
	if len(c.Certificates) != 1 || c.GetCertificate != nil || c.GetClientCertificate != nil {
		return Identity{}, false, nil
	}
	leaf := c.Certificates[0].Leaf
	if leaf == nil {
		chain := c.Certificates[0].Certificate
		if len(chain) == 0 {
			return Identity{}, true, shard.Invalid("TLS: the certificate is empty")
		}
		if leaf, err = x509.ParseCertificate(chain[0]); err != nil {
			return Identity{}, true, shard.Invalid("TLS: our certificate: %v", err)
		}
	}
	if own, err = IdentityOf(leaf); err != nil {
		return Identity{}, true, shard.Invalid("TLS: our own certificate opens nothing: %s, with ROLE server, admin or client, as a URI among its alternative names",
			shard.As(err).Detail)
	}
	return own, true, nil
}

// domainOf is the Group of the configuration's own certificate, "" when that is not known.
func domainOf(c *tls.Config) string {
	own, _, _ := OwnIdentity(c)
	return own.Group
}

// servesAs fails with CodeInvalid when others would not take the holder of the configuration for the node.
func servesAs(c *tls.Config, node shard.NodeID) error {
	own, known, err := OwnIdentity(c)
	if known && err == nil && own.vouches(node) != nil {
		err = shard.Invalid("TLS: our own certificate names %s %q of %s: that of node %s has to name spiffe://%s/%s/%s",
			own.Role, own.Name, own.Group, node, own.Group, RoleServer, node)
	}
	return err
}

// within fails with CodeWrongGroup when the certificate is of another group than ours, which is "" when that is not known.
func (i Identity) within(own string) error {
	if own == "" || i.Group == own {
		return nil
	}
	return shard.Errorf(shard.CodeWrongGroup, "its certificate is one of spiffe://%s, ours is one of spiffe://%s", valid(i.Group), valid(own))
}

// identity returns who is at the other end of a TLS connection.
func identity(state *tls.ConnectionState) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, shard.Errorf(shard.CodeWrongGroup, "the peer showed no certificate")
	}
	return IdentityOf(state.PeerCertificates[0])
}

// Vouched fails with CodeWrongGroup unless the certificate of whoever answered a call, or makes one, is that of a server named as the node.
// In plaintext nobody vouches for anything, and it does not fail.
func Vouched(who *peer.Peer, node shard.NodeID) error {
	secure, isTLS := who.AuthInfo.(credentials.TLSInfo)
	if !isTLS {
		return nil
	}
	named, err := identity(&secure.State)
	if err != nil {
		return err
	}
	return named.vouches(node)
}

func (i Identity) vouches(node shard.NodeID) error {
	if i.Role == RoleServer && i.Name == string(node) {
		return nil
	}
	return shard.Errorf(shard.CodeWrongGroup, "the certificate of %s %q does not speak for node %q", i.Role, i.Name, node)
}
