package transport

import (
	"net"
	"sync"
	"time"
)

// A lane is the virtual listener of one protocol on the port. Its Close unblocks Accept and closes what nobody took.
type lane struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// laneBacklog is how many connections may wait for Accept, as a kernel's listen backlog would hold them.
const laneBacklog = 64

func newLane(addr net.Addr) *lane {
	return &lane{addr: addr, conns: make(chan net.Conn, laneBacklog), done: make(chan struct{})}
}

// offer hands over a connection that shook hands, waiting at most until the deadline. False leaves it with the caller.
func (l *lane) offer(c net.Conn, deadline time.Time) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case l.conns <- c:
		// Close may have drained the channel just before: then nobody is left to take c.
		select {
		case <-l.done:
			l.drain()
		default:
		}
		return true
	case <-l.done:
	case <-timer.C:
	}
	return false
}

// Accept implements net.Listener.
func (l *lane) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *lane) Close() error {
	l.once.Do(func() { close(l.done) })
	l.drain()
	return nil
}

func (l *lane) drain() {
	for {
		select {
		case c := <-l.conns:
			c.Close()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (l *lane) Addr() net.Addr { return l.addr }

// address is an advertised address: what others dial, whatever the listener is bound to.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
