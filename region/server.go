package region

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"muster/entity"
	"muster/journal"
	"muster/region/route"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// What one peer may leave unread, in answers and in bytes: beyond it nothing more is taken from that peer.
const (
	maxUnread      = 16_384
	maxUnreadBytes = 64 << 20
)

// lastWords is how long a stream that ends may take to send what is queued.
const lastWords = time.Second

// server is what other nodes and clients call. Its streams end with the region or when the port drains.
type server struct {
	wire.UnimplementedPeerServer
	wire.UnimplementedMusterServer
	region *Region
}

// answers is the way back of one Deliver stream.
type answers struct {
	queue *funnel[answer]
	bytes atomic.Int64  // of the answers in queue
	read  chan struct{} // receives when the sender has taken some
}

type answer struct {
	token uint64
	reply []byte
	fault *shard.Error
}

// size is about what the answer takes in a frame.
func (a *answer) size() int {
	const header, fault = 16, 64
	n := header + len(a.reply)
	if a.fault != nil {
		n += fault + len(a.fault.Detail)
	}
	return n
}

func (a *answers) answer(token uint64, reply []byte, fault *shard.Error) {
	item := answer{token, reply, fault}
	a.bytes.Add(int64(item.size()))
	a.queue.put(item)
}

// Deliver takes the envelopes of one peer and sends the answers back as they come.
func (s *server) Deliver(stream wire.Peer_DeliverServer) error {
	ctx, stop := s.bounded(stream.Context())
	defer stop(nil)
	a := &answers{queue: newFunnel[answer](), read: make(chan struct{}, 1)}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		stop(a.send(ctx, stream))
	}()
	defer linger(sent)
	go func() { stop(s.receive(ctx, stream, a)) }() // ends when the handler has returned
	<-ctx.Done()
	return ended(ctx)
}

// linger lets a stream's sender finish. One that its peer does not read from is unblocked by the handler's return only.
func linger(sent <-chan struct{}) {
	patience := time.NewTimer(lastWords)
	defer patience.Stop()
	select {
	case <-sent:
	case <-patience.C:
	}
}

// ended is what a stream's handler returns: its peer going away is no error.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// bounded returns a context that ends with the stream, the region, or the port's drain.
func (s *server) bounded(parent context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(parent)
	over := shard.Errorf(shard.CodeClosed, "the node is stopping")
	forget := context.AfterFunc(s.region.life, func() { stop(over) })
	draining := s.region.cfg.Port.Draining()
	go func() {
		select {
		case <-draining:
			stop(over)
		case <-ctx.Done():
			forget()
		}
	}()
	return ctx, stop
}

func (s *server) receive(ctx context.Context, stream wire.Peer_DeliverServer, a *answers) error {
	var f incomingCalls
	for {
		if err := stream.RecvMsg(&f); err != nil {
			return err
		}
		to := &asked{a, f.all}
		for i := range f.all.calls {
			f.all.calls[i].to = to
			s.region.accept(&f.all.calls[i])
		}
		f.all.over()
		for a.queue.len() > maxUnread || a.bytes.Load() > maxUnreadBytes {
			select {
			case <-a.read:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (a *answers) send(ctx context.Context, stream wire.Peer_DeliverServer) error {
	var f outgoingAnswers
	var spare []answer
	for {
		items, err := a.queue.gather(ctx, spare)
		if err != nil {
			return err
		}
		for rest := items; len(rest) > 0; {
			rest = f.pack(rest)
			a.bytes.Add(-f.bytes())
			select {
			case a.read <- struct{}{}: // after the bytes are taken off: the reader looks at them
			default:
			}
			if err := stream.SendMsg(&f); err != nil {
				return err
			}
		}
		clear(items)
		spare = items[:0]
	}
}

// accept judges a peer's call by this node's map and hands it to the shard.
func (r *Region) accept(c *call) {
	if err := c.env.Validate(); err != nil {
		c.reply(nil, shard.As(err))
		return
	}
	v := r.view.Load()
	if id, ok := v.Locate(c.env.Type, c.env.Entity); ok && id != c.shard {
		c.reply(nil, shard.Invalid("entity %s belongs to shard %s, not %s", c.env.Entity, id, c.shard))
		return
	}
	if fault := route.Accept(v, r.self(), c.shard, c.epoch); fault != nil {
		c.reply(nil, fault)
		return
	}
	r.deliver(c)
}

// deliver hands a call to the shard's host, which answers it, or answers it.
func (r *Region) deliver(c *call) {
	if fault := r.take(c); fault != nil {
		c.reply(nil, fault)
	}
}

// take hands a call to the shard's host, which answers it, or says why not.
func (r *Region) take(c *call) *shard.Error {
	if fault := r.stopped(); fault != nil {
		return fault
	}
	o := r.owner(c.shard)
	if o == nil {
		return &shard.Error{Code: shard.CodeUnavailable, Shard: c.shard, Detail: "the node does not hold the shard yet"}
	}
	return o.deliver(c)
}

// ackStream is the way back of one Replicate stream.
type ackStream struct{ queue *funnel[answerback] }

// Replicate takes the appends of one peer's primaries and sends acks and nacks back as they come.
func (s *server) Replicate(stream wire.Peer_ReplicateServer) error {
	ctx, stop := s.bounded(stream.Context())
	defer stop(nil)
	a := &ackStream{newFunnel[answerback]()}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		stop(a.send(ctx, stream))
	}()
	defer linger(sent)
	go func() { stop(s.follow(ctx, stream, a)) }()
	<-ctx.Done()
	return ended(ctx)
}

func (s *server) follow(ctx context.Context, stream wire.Peer_ReplicateServer, a *ackStream) error {
	if err := s.region.admitted(ctx); err != nil {
		return err
	}
	var f incomingAppends
	for {
		if err := s.digested(ctx); err != nil {
			return err
		}
		if err := stream.RecvMsg(&f); err != nil {
			return err
		}
		for i := range f.appends {
			s.region.appended(&f.appends[i], f.frame, a)
		}
		f.over()
	}
}

// digested waits until the journal has room for more: what a primary sends cannot be refused, only left unread.
func (s *server) digested(ctx context.Context) error {
	if s.region.cfg.Journal.Backlog() < journal.MaxQueuedBytes {
		return nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.region.cfg.Journal.Backlog() >= journal.MaxQueuedBytes {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (a *ackStream) send(ctx context.Context, stream wire.Peer_ReplicateServer) error {
	var f outgoingAcks
	var spare []answerback
	for {
		items, err := a.queue.gather(ctx, spare)
		if err != nil {
			return err
		}
		f.answers = items
		if err := stream.SendMsg(&f); err != nil {
			return err
		}
		clear(items)
		spare = items[:0]
	}
}

// Seal makes the copies of this node promise a higher epoch.
func (s *server) Seal(ctx context.Context, q *wire.SealRequest) (*wire.SealReply, error) {
	items := make([]shard.SealItem, len(q.Items))
	for i, m := range q.Items {
		items[i] = shard.SealItem{Shard: shardOf(m.Type, m.Shard), Copy: shard.CopyID(m.Copy), Epoch: shard.Epoch(m.Epoch)}
	}
	sealed := s.region.Seal(ctx, items)
	reply := &wire.SealReply{Sealed: make([]*wire.Sealed, len(sealed))}
	for i := range sealed {
		reply.Sealed[i] = sealedMessage(&sealed[i])
	}
	return reply, nil
}

// Ask serves a client, which borrows this node's session.
func (s *server) Ask(ctx context.Context, q *wire.AskRequest) (*wire.AskReply, error) {
	if q.TimeoutMicros > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(q.TimeoutMicros)*time.Microsecond)
		defer cancel()
	}
	e := entity.Envelope{Type: shard.TypeName(q.Type), Entity: shard.EntityID(q.Entity), Command: q.Command, Payload: q.Payload}
	reply, err := s.region.send(ctx, e, q.Tell)
	m := &wire.AskReply{Payload: reply, Node: string(s.region.cfg.Node)}
	if err != nil {
		m.Fault = transport.FaultOf(err)
	}
	return m, nil
}

// Register offers the region's services on a server that does not serve yet.
func (r *Region) Register(s *grpc.Server) {
	impl := &server{region: r}
	wire.RegisterPeerServer(s, impl)
	wire.RegisterMusterServer(s, impl)
}
