package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"muster/shard"
)

// An attempt knows why the newest dialing of a connection failed, nil when it did not. gRPC tells its callers too, in a text of its own
// around that of whoever failed.
type attempt struct{ failed atomic.Pointer[error] }

// ended notes how one ended.
func (a *attempt) ended(err error) { a.failed.Store(&err) }

// unsent is the error of a call that never got a stream: the other side has not heard of it, whatever gRPC calls it. Any other
// error stays what it is.
func (a *attempt) unsent(ctx context.Context, err error, at *peer.Peer) error {
	if err == nil || at.Addr != nil {
		return err
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		return &shard.Error{Code: shard.CodeUnavailable, Detail: a.cause()}
	case codes.Canceled:
		if ctx.Err() == nil { // not by the caller: the port hung up
			return &shard.Error{Code: shard.CodeUnavailable, Detail: "the connection was given up"}
		}
		fallthrough
	case codes.DeadlineExceeded:
		return &shard.Error{Code: shard.CodeTimeout, Detail: "there was no connection yet"}
	}
	return err
}

// cause is why there is no connection, in plain words.
func (a *attempt) cause() string {
	if err := a.failed.Load(); err != nil && *err != nil {
		return plain(*err)
	}
	return "it closed the connection, as a node does that uses TLS, and so does what is no node"
}

// plain says why a connection was not made.
func plain(err error) string {
	var name *net.DNSError
	var typed *shard.Error
	var op *net.OpError
	var wait net.Error
	switch {
	case errors.As(err, &typed):
		return typed.Detail
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it"
	case errors.As(err, &name) && name.IsNotFound:
		return "no host of that name"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return "no answer in time"
	case closed(err):
		return "it closed the connection"
	case isTLS(err):
		return "TLS: " + inTLS(err)
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isTLS(err error) bool {
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var garbage tls.RecordHeaderError
	var op *net.OpError
	return errors.As(err, &untrusted) || errors.As(err, &alert) || errors.As(err, &garbage) || errors.As(err, &op) && op.Op == "remote error"
}

func inTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	var untrusted *tls.CertificateVerificationError
	var garbage tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown):
		return "its certificate is signed by an authority that we do not know"
	case errors.As(err, &untrusted):
		return fmt.Sprintf("its certificate is not accepted: %v", untrusted.Err)
	case errors.As(err, &garbage):
		return "it does not use TLS"
	case errors.As(err, &op):
		return fmt.Sprintf("it refuses us: %v", op.Err)
	}
	return err.Error()
}

// heard are the credentials of a client that note how each handshake ended.
type heard struct {
	credentials.TransportCredentials
	attempt *attempt
}

// ClientHandshake implements credentials.TransportCredentials.
func (h heard) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	switch {
	case err == nil:
		h.attempt.ended(io.EOF) // unless something is read now, be it why
		return &overheard{Conn: c, attempt: h.attempt}, info, nil
	case closed(err):
		h.attempt.ended(shard.Errorf(shard.CodeUnavailable, "it closed the connection in the TLS handshake, as a node does that uses no TLS"))
	default:
		h.attempt.ended(err)
	}
	return c, info, err
}

// overheard is a connection that notes whether it was made: with TLS 1.3 the other side refuses our certificate only after the handshake has
// ended for us.
type overheard struct {
	net.Conn
	attempt *attempt
	made    bool // owned by the reader
}

// Read implements net.Conn.
func (c *overheard) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.made && !errors.Is(err, net.ErrClosed) {
		c.made = err == nil
		c.attempt.ended(err)
	}
	return n, err
}

// Clone implements credentials.TransportCredentials.
func (h heard) Clone() credentials.TransportCredentials {
	return heard{h.TransportCredentials.Clone(), h.attempt}
}
