package region

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"muster/entity"
	"muster/region/route"
	"muster/shard"
	"muster/transport/wire"
)

// OneWay sends the command and returns: nobody hears what becomes of it. It runs at most once, in no order relative to other
// commands. It is lost with the process or the stream that holds it, with an owner that goes down, and where a limit of its
// owner is reached; Dropped counts what a node had to drop. One that comes to a node which has handed the shard over is passed on.
//
// A full lane and a shard without an owner are waited for, until ctx's deadline or for Limits.Timeout. Errors are *shard.Error
// and mean that the command was not sent: CodeOverloaded for a lane that stayed full, CodeUnavailable for want of an owner.
func (r *Region) OneWay(ctx context.Context, e entity.Envelope) error {
	const place = 0 // of the tally of asks
	if !r.origin.begin(place) {
		return r.closing()
	}
	defer r.origin.end(place)
	id, err := r.locate(ctx, &e)
	if err != nil {
		return err
	}
	m := routed{env: e, shard: id, tell: true}
	fault, again := r.tryOneWay(ctx, &m)
	if again {
		fault = r.persist(ctx, &m, fault)
	}
	return asError(fault)
}

// persist tries until somebody owns the shard.
func (r *Region) persist(ctx context.Context, m *routed, fault *shard.Error) *shard.Error {
	ctx, cancel := r.patience(ctx)
	defer cancel()
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for again := true; again; {
		select {
		case <-pause.C:
			fault, again = r.tryOneWay(ctx, m)
		case <-ctx.Done():
			return fault
		}
	}
	return fault
}

// patience ends with ctx or, if that has no deadline, after Limits.Timeout, and with the region. A handler leaves its place to others until it
// is cancelled.
func (r *Region) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := r.limits.Timeout
	if d, ok := ctx.Deadline(); ok {
		limit = time.Until(d)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	forget, place := context.AfterFunc(r.life, cancel), aside(ctx)
	return ctx, func() { forget(); cancel(); place.back() }
}

// tryOneWay hands the command to its owner, or to the lane to its owner's node; again says that there is none now.
func (r *Region) tryOneWay(ctx context.Context, m *routed) (fault *shard.Error, again bool) {
	to := route.At(r.view.Load(), r.self(), m.shard)
	m.epoch = to.Epoch
	switch to.Action {
	case route.Forward:
		p := r.peers.at(to.Addr)
		if p == nil {
			return r.closing(), false
		}
		if fault := r.enter(ctx, p.oneWays.room, m.weight(), "wait for", to.Node); fault != nil {
			return fault, false
		}
		p.oneWays.queue.put(*m)
		return nil, false
	case route.Deliver:
		if fault := r.enter(ctx, r.peers.here, m.weight(), "are under way on", to.Node); fault != nil {
			return fault, false
		}
		s := &strays{r, r.peers.here, newInbound(1)}
		s.calls.calls[0].routed = *m
		if fault = r.take(s.call(0)); fault != nil {
			r.peers.here.Release(m.weight())
			s.calls.over()
		}
		s.calls.over()
		return fault, fault != nil && route.After(fault, to.Epoch).Verdict != route.GiveUp
	}
	return unowned(to), true
}

// enter waits for room in the lane of a node, whose commands wait for it or are under way there.
func (r *Region) enter(ctx context.Context, room *semaphore.Weighted, n int64, are string, node shard.NodeID) *shard.Error {
	if room.TryAcquire(n) {
		return nil
	}
	ctx, cancel := r.patience(ctx)
	defer cancel()
	switch err := room.Acquire(ctx, n); {
	case err == nil:
		return nil
	case r.life.Err() != nil:
		return r.closing()
	default:
		return shard.Errorf(shard.CodeOverloaded, "%d one-way commands or %d bytes %s node %s: %v", maxOneWays, maxOneWayBytes, are, node, err)
	}
}

// oneWays is the lane of one-way commands to a peer. Safe for concurrent use, but for what is the sender's.
type oneWays struct {
	queue *funnel[routed]
	room  *semaphore.Weighted // what may wait in queue, by weight
	out   outgoingOneWays     // the sender's, used again
}

func newOneWays() *oneWays {
	return &oneWays{queue: newFunnel[routed](), room: newLaneRoom()}
}

func newLaneRoom() *semaphore.Weighted { return semaphore.NewWeighted(maxOneWayBytes) }

// weight is what a command counts for in a lane: its bytes, at most all there is room for, and no less than would be maxOneWays of them.
func (m *routed) weight() int64 {
	return int64(min(max(m.size(), maxOneWayBytes/maxOneWays), maxOneWayBytes))
}

// frame packs commands up to the size of a frame.
func (o *oneWays) frame(items []routed) (any, []routed) {
	weight, n := int64(0), 0
	for size := 0; n < len(items) && (n == 0 || size+items[n].size() <= maxFrame); n++ {
		size += items[n].size()
		weight += items[n].weight()
	}
	o.room.Release(weight)
	o.out.commands = items[:n]
	return &o.out, items[n:]
}

// receive waits for the stream to break: nothing comes back.
func (o *oneWays) receive(s grpc.ClientStream) error { return s.RecvMsg(new(wire.OneWayReply)) }

// gone forgets what was not sent when the lane is over.
func (o *oneWays) gone(d *dropped, err error) {
	for _, m := range o.queue.take(nil) {
		o.room.Release(m.weight())
		d.add(&shard.Error{Code: shard.CodeUnavailable, Shard: m.shard, Detail: fmt.Sprintf("its owner's address is no longer a member's: %v", err)})
	}
}

// pass puts a command into the lane if there is room now.
func (o *oneWays) pass(m routed) bool {
	if !o.room.TryAcquire(m.weight()) {
		return false
	}
	o.queue.put(m)
	return true
}

// strays is the sink of one-way commands that came together to the node that owns them.
type strays struct {
	region *Region
	room   *semaphore.Weighted // each gives its weight back when it is over
	calls  *inbound
}

func (s *strays) call(i int) *call {
	c := &s.calls.calls[i]
	c.oneWay, c.to, c.token = true, s, uint64(i)
	return c
}

// answer implements sink.
func (s *strays) answer(token uint64, _ []byte, fault *shard.Error) {
	m := &s.calls.calls[token].routed
	if fault != nil {
		s.region.astray(*m, fault)
	}
	s.room.Release(m.weight())
	s.calls.over()
}

// astray passes a command on that did not run here because the shard has gone to another node, or drops it.
func (r *Region) astray(m routed, fault *shard.Error) {
	if fault.Outcome == shard.NotApplied && route.After(fault, m.epoch).Verdict != route.GiveUp {
		to := route.At(r.view.Load(), r.self(), m.shard)
		if to.Action == route.Forward && to.Epoch > m.epoch { // which rises with each node that it passes
			m.epoch, m.env.Payload = to.Epoch, bytes.Clone(m.env.Payload) // the frame that it stands in is used again
			if p := r.peers.at(to.Addr); p != nil && p.oneWays.pass(m) {
				return
			}
		}
	}
	if fault.Code != shard.CodeRefused { // which is the entity's word about a command that ran
		r.peers.dropped.add(fault)
	}
}

// OneWay takes the one-way commands of one peer. While as many of them are under way as a lane has room for it reads no further, so
// that the others wait at their sender.
func (s *server) OneWay(stream wire.Peer_OneWayServer) error {
	ctx, stop := s.bounded(stream.Context())
	defer stop(nil)
	go func() { stop(s.takeOneWays(ctx, stream)) }() // ends when the handler has returned
	<-ctx.Done()
	return ended(ctx)
}

func (s *server) takeOneWays(ctx context.Context, stream wire.Peer_OneWayServer) error {
	room := newLaneRoom()
	var f incomingCalls
	for {
		if err := stream.RecvMsg(&f); err != nil {
			return err
		}
		all := &strays{s.region, room, f.all}
		for i := 0; i < len(f.all.calls); {
			weight, n := all.some(i)
			if err := room.Acquire(ctx, weight); err != nil {
				return err
			}
			for ; n > 0; n-- {
				s.region.accept(all.call(i))
				i++
			}
		}
		f.all.over()
	}
}

// some are the commands from i on, n of them, for which room is made at once: so the reader is not woken for each.
func (s *strays) some(i int) (weight int64, n int) {
	for _, c := range s.calls.calls[i:] {
		if n > 0 && weight+c.weight() > maxOneWayBytes/4 {
			break
		}
		weight += c.weight()
		n++
	}
	return weight, n
}

// dropped counts one-way commands that came to nothing. Safe for concurrent use, but for said, which is the beat's.
type dropped struct {
	count atomic.Uint64
	last  atomic.Pointer[shard.Error]
	said  uint64
	next  time.Duration // on the region's clock, when to say more
}

func (d *dropped) add(why *shard.Error) {
	d.last.Store(why)
	d.count.Add(1)
}

// Dropped returns how many one-way commands this node has lost since it started, other than by going down.
func (r *Region) Dropped() uint64 { return r.peers.dropped.count.Load() }

// reportDropped says in the log what was dropped, at most once in droppedPause.
func (r *Region) reportDropped() {
	d, now := &r.peers.dropped, r.now()
	n := d.count.Load()
	if n == d.said || now < d.next {
		return
	}
	r.log.Warn("one-way commands were dropped", "number", n-d.said, "last", d.last.Load())
	d.said, d.next = n, now+droppedPause
}
