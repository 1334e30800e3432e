package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"muster/shard"
)

// A RaftLayer carries Raft's streams over the port. It implements raft.StreamLayer.
//
// A stream opens with {0x01, "MSTR", protocol version, group UUID, node id} from the dialer, answered by {verdict, name}:
// nodes of two groups never hear a word of each other's Raft, the dialer can say why, and it knows who answered. Raft
// itself believes that whoever listens at a voter's address is that voter, so a node that took over another's address
// could vote twice, and one that lost its directory be taken for the voter it was; Name and Expect prevent that.
//
// Cut is for a node whose disk hangs: its Raft instance would go on leading, as heartbeats do not touch the disk.
type RaftLayer struct {
	port *Port
	mu   struct {
		sync.Mutex
		lane    *lane // another one after each Open of a closed layer
		closed  bool
		expect  func(raft.ServerAddress) (addr, name string)
		name    string // that answers here
		cut     bool
		streams map[net.Conn]struct{}
	}
}

var _ raft.StreamLayer = (*RaftLayer)(nil)

const (
	raftMagic   = "MSTR"
	raftVersion = 1
	maxHello    = 255 // bytes of the group, and of the node id: each has one byte of length
)

// The answers to the opening of a Raft stream.
const (
	raftWelcome = iota
	raftForeignVersion
	raftForeignGroup
	raftForbidden
	raftCut
)

var raftAnswers = [...]string{
	raftWelcome: "welcome", raftForeignVersion: "it speaks another version of the stream protocol",
	raftForeignGroup: "it belongs to another group", raftForbidden: "it does not accept our certificate for Raft",
	raftCut: "its Raft is stopped",
}

func newRaftLayer(p *Port) *RaftLayer {
	r := &RaftLayer{port: p}
	r.mu.lane, r.mu.name = newLane(address(p.advertise)), string(p.node)
	r.mu.streams = map[net.Conn]struct{}{}
	return r
}

// Name sets under which name this node answers; it is the node id before. At most 255 bytes.
func (r *RaftLayer) Name(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.name = name
}

// Expect sets how Dial finds out where a voter is now, and under which name it must answer there; "" means any. The function
// must not block. Without it the address is dialed as it is, and any node of the group will do.
func (r *RaftLayer) Expect(find func(raft.ServerAddress) (addr, name string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.expect = find
}

func (r *RaftLayer) find(to raft.ServerAddress) (addr, name string) {
	r.mu.Lock()
	find := r.mu.expect
	r.mu.Unlock()
	if find == nil {
		return string(to), ""
	}
	return find(to)
}

// Accept implements net.Listener. It fails with net.ErrClosed after Close of the layer or the port.
func (r *RaftLayer) Accept() (net.Conn, error) { return r.current().Accept() }

func (r *RaftLayer) current() *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.lane
}

// Addr returns the advertised address: Raft tells it to the other voters.
func (r *RaftLayer) Addr() net.Addr { return r.current().addr }

// Close ends Accept and every stream. The port goes on serving calls.
func (r *RaftLayer) Close() error {
	r.Cut()
	r.mu.Lock()
	r.mu.closed = true
	l := r.mu.lane
	r.mu.Unlock()
	return l.Close()
}

// Open takes back Cut and Close, for a node that is given a vote after it had none. The caller makes sure that no Raft
// instance of before is left: it would accept streams that are not meant for it.
func (r *RaftLayer) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		r.mu.lane = newLane(address(r.port.advertise))
	}
	r.mu.cut, r.mu.closed = false, false
}

// Cut closes every stream and refuses new ones, in both directions, until Open. It does not block. Accept goes on
// waiting, so the Raft instance above sees a network that is gone, not a closed transport.
func (r *RaftLayer) Cut() {
	r.mu.Lock()
	r.mu.cut = true
	streams := r.mu.streams
	r.mu.streams = map[net.Conn]struct{}{}
	r.mu.Unlock()
	for c := range streams {
		abort(c)
	}
}

// Dial implements raft.StreamLayer. The timeout covers the connection, TLS and the opening words.
func (r *RaftLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	addr, name := r.find(to)
	c, err := r.port.dialSecure(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("raft stream to %s: %w", to, err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	err = r.open(c, name)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("raft stream to %s: %w", to, err)
	}
	return r.track(c)
}

// open says who dials and hears who answers.
func (r *RaftLayer) open(c net.Conn, want string) error {
	group := r.port.Group()
	if group == "" {
		return errors.New("this node belongs to no group yet")
	}
	if _, err := c.Write(hello{raftVersion, group, r.port.node}.encode()); err != nil {
		return err
	}
	verdict := make([]byte, 1)
	if _, err := io.ReadFull(c, verdict); err != nil {
		return err
	}
	name, err := readShort(c)
	switch {
	case err != nil:
		return err
	case int(verdict[0]) >= len(raftAnswers):
		return shard.Errorf(shard.CodeWrongGroup, "%s refused with unknown verdict %d", name, verdict[0])
	case verdict[0] != raftWelcome:
		return shard.Errorf(shard.CodeWrongGroup, "%s refused: %s", name, raftAnswers[verdict[0]])
	case want != "" && name != want:
		return shard.Errorf(shard.CodeMoved, "%s answers where %s was expected", name, want)
	}
	return nil
}

// receive reads the opening words of an accepted stream, whose first byte is gone, and hands it to Accept.
func (r *RaftLayer) receive(c *conn, limit time.Time) error {
	h, err := readHello(c.Conn)
	if err != nil {
		return err
	}
	answer, err := r.judge(c.state, h)
	r.mu.Lock()
	name := r.mu.name
	r.mu.Unlock()
	said := append([]byte{answer, byte(len(name))}, name...)
	if _, writeErr := c.Conn.Write(said); err == nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	c.SetDeadline(time.Time{})
	stream, err := r.track(c)
	if err != nil {
		return err
	}
	if !r.current().offer(stream, limit) {
		stream.Close()
		return net.ErrClosed
	}
	return nil
}

// judge decides on a stream: the answer to send, and the error when it is not a welcome.
func (r *RaftLayer) judge(state *tls.ConnectionState, h hello) (byte, error) {
	r.mu.Lock()
	cut := r.mu.cut
	r.mu.Unlock()
	switch own := r.port.Group(); {
	case h.version != raftVersion:
		return raftForeignVersion, shard.Errorf(shard.CodeMismatch, "a Raft stream of version %d", h.version)
	case cut:
		return raftCut, errCut
	case own == "" || h.group != own:
		return raftForeignGroup, shard.Errorf(shard.CodeWrongGroup, "node %q of group %q opened a Raft stream", h.node, h.group)
	case state == nil:
		return raftWelcome, nil
	}
	who, err := identity(state)
	if err == nil {
		err = who.within(r.port.domain)
	}
	if err == nil {
		err = who.vouches(h.node)
	}
	if err != nil {
		return raftForbidden, err
	}
	return raftWelcome, nil
}

// hello is what the dialer of a Raft stream says of itself. Its layout is the same in every version, so that each can
// refuse the other in words.
type hello struct {
	version byte
	group   shard.GroupID
	node    shard.NodeID
}

func (h hello) encode() []byte {
	b := append([]byte{raftByte}, raftMagic...)
	b = append(b, h.version, byte(len(h.group)))
	b = append(b, h.group...)
	b = append(b, byte(len(h.node)))
	return append(b, h.node...)
}

// readHello reads what follows the first byte.
func readHello(c io.Reader) (hello, error) {
	fixed := make([]byte, len(raftMagic)+1)
	if _, err := io.ReadFull(c, fixed); err != nil {
		return hello{}, err
	}
	if string(fixed[:len(raftMagic)]) != raftMagic {
		return hello{}, errForeign
	}
	group, err := readShort(c)
	if err != nil {
		return hello{}, err
	}
	node, err := readShort(c)
	return hello{fixed[len(raftMagic)], shard.GroupID(group), shard.NodeID(node)}, err
}

// readShort reads a string of at most maxHello bytes behind its length.
func readShort(c io.Reader) (string, error) {
	b := make([]byte, 1+maxHello)
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return "", err
	}
	n := int(b[0])
	_, err := io.ReadFull(c, b[1:1+n])
	return string(b[1 : 1+n]), err
}

var errCut = errors.New("the Raft streams of this node are cut")

// track puts a stream among those that Cut closes.
func (r *RaftLayer) track(c net.Conn) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.cut {
		c.Close()
		return nil, errCut
	}
	s := &raftStream{Conn: c, layer: r}
	r.mu.streams[s] = struct{}{}
	return s, nil
}

func (r *RaftLayer) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.streams)
}

// raftStream takes itself off the list of what Cut closes.
type raftStream struct {
	net.Conn
	layer *RaftLayer
}

// Close implements net.Conn.
func (s *raftStream) Close() error {
	s.layer.mu.Lock()
	delete(s.layer.mu.streams, s)
	s.layer.mu.Unlock()
	return s.Conn.Close()
}
