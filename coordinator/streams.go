package coordinator

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// streams is the port's stream layer with ordinary ends of a connection made ordinary: Raft's transport logs anything but
// an EOF as an error, and nodes come and go.
type streams struct{ raft.StreamLayer }

// Accept implements net.Listener.
func (s streams) Accept() (net.Conn, error) {
	c, err := s.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return stream{c}, nil
}

// Dial implements raft.StreamLayer.
func (s streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := s.StreamLayer.Dial(to, timeout)
	if err != nil {
		return nil, err
	}
	return stream{c}, nil
}

type stream struct{ net.Conn }

// Read implements net.Conn.
func (s stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

// addresses tells Raft where a server is now. Its configuration holds the address of the day the server was added.
type addresses struct {
	c *Coordinator
	v *voter
}

// ServerAddr implements raft.ServerAddressProvider. It is asked before every call.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr, err := a.find(id)
	if err != nil {
		return "", err
	}
	return addressed(addr, id), nil
}

// addressed is an address that says who must answer there. A node that lost its directory is found where the voter was, and
// must not be taken for it: what the voter acknowledged it does not have.
func addressed(addr string, id raft.ServerID) raft.ServerAddress {
	return raft.ServerAddress(addr + "/" + string(id))
}

// unaddressed takes such an address apart.
func unaddressed(a raft.ServerAddress) (addr, name string) {
	addr, name, _ = strings.Cut(string(a), "/")
	return addr, name
}

func (a addresses) find(id raft.ServerID) (string, error) {
	node, directory := nodeOf(id)
	for _, view := range a.c.maps() {
		if m, known := view.Members[node]; known && m.Directory == directory {
			return m.Addr, nil
		}
	}
	for _, f := range a.c.cfg.Directory.now.Load().Founders {
		if f.Directory == directory {
			return f.Addr, nil
		}
	}
	for _, s := range a.v.configured() {
		if s.ID == id {
			addr, _ := unaddressed(s.Address)
			return addr, nil
		}
	}
	return "", fmt.Errorf("no address is known for %s", id)
}
