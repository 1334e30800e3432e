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
// server's, so that no client can pose as one.
func clientTLS(c *tls.Config, addr string) *tls.Config {
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
	Group string // the trust domain, in the words of whoever issued the certificate; not the group's UUID
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
