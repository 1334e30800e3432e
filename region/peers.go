package region

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"muster/replication"
	"muster/shard"
	"muster/transport/wire"
)

// peers holds the lanes to other nodes, by address: a node that comes back elsewhere gets new ones. Safe for concurrent
// use. The goroutines of the lanes end with the region's life.
type peers struct {
	region  *Region
	here    *semaphore.Weighted // for one-way commands of this node to its own entities, by weight
	dropped dropped             // one-way commands
	mu      struct {
		sync.RWMutex
		byAddr map[string]*peer
		closed bool
	}
}

// A peer is the lanes to one address.
type peer struct {
	addr    string
	cancel  context.CancelFunc
	appends *funnel[appendMessage]
	out     outgoingAppends // the sender's, used again
	backlog atomic.Int64    // bytes of records in appends
	calls   *deliveries
	oneWays *oneWays
	mu      struct {
		sync.Mutex
		hearing replication.Hearing
	}
}

// heard notes that copies there answer, or that no answer is expected.
func (n *peer) heard() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.hearing.Heard()
}

// tick lets time pass; ask is whether a sign of life is due.
func (n *peer) tick() (ask bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.hearing.Tick()
}

// silent is for how many ticks nothing was heard that should have been.
func (n *peer) silent() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.hearing.Silent()
}

// replicate queues an append, or leaves it out when the peer is too far behind: the protocol sends it again.
func (n *peer) replicate(m appendMessage) {
	if n.backlog.Load() > maxBacklog {
		return
	}
	n.backlog.Add(int64(len(m.records)))
	n.appends.put(m)
}

// frame packs appends up to the size of a frame.
func (n *peer) frame(items []appendMessage) (any, []appendMessage) {
	const header = 64 // bytes of an append without records, about
	records, i := 0, 0
	for ; i < len(items) && (i == 0 || records+len(items[i].records)+i*header <= maxFrame); i++ {
		records += len(items[i].records)
	}
	n.backlog.Add(-int64(records))
	n.out.appends = items[:i]
	return &n.out, items[i:]
}

// broken drops what is queued: the protocol sends it again.
func (n *peer) broken(error) {
	for _, m := range n.appends.take(nil) {
		n.backlog.Add(-int64(len(m.records)))
	}
}

// of returns the lanes to a node, nil when the map does not know its address.
func (p *peers) of(node shard.NodeID) *peer {
	m, ok := p.region.view.Load().Members[node]
	if !ok || m.Addr == "" {
		return nil
	}
	return p.at(m.Addr)
}

// known returns the lanes to an address if they were opened, else nil.
func (p *peers) known(addr string) *peer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mu.byAddr[addr]
}

// at returns the lanes to an address, opened on first use; nil once the region ends.
func (p *peers) at(addr string) *peer {
	known := p.known(addr)
	if known != nil {
		return known
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known = p.mu.byAddr[addr]; known != nil || p.mu.closed {
		return known
	}
	known = p.dial(addr)
	p.mu.byAddr[addr] = known
	return known
}

func (p *peers) dial(addr string) *peer {
	ctx, cancel := context.WithCancel(p.region.life)
	client := func() wire.PeerClient { return wire.NewPeerClient(p.region.cfg.Port.Peer(addr)) } // for each stream: the port may have hung up
	n := &peer{addr: addr, cancel: cancel, appends: newFunnel[appendMessage](), calls: newDeliveries(), oneWays: newOneWays()}
	replicate := &link[appendMessage]{
		queue:   n.appends,
		open:    func(ctx context.Context) (grpc.ClientStream, error) { return client().Replicate(ctx) },
		frame:   n.frame,
		receive: func(s grpc.ClientStream) error { return p.region.hear(s, n) },
		broken:  n.broken,
	}
	deliver := &link[*call]{
		queue:   n.calls.queue,
		open:    func(ctx context.Context) (grpc.ClientStream, error) { return client().Deliver(ctx) },
		frame:   n.calls.frame,
		receive: n.calls.receive,
		broken:  n.calls.broken,
	}
	oneWay := &link[routed]{
		queue:   n.oneWays.queue,
		open:    func(ctx context.Context) (grpc.ClientStream, error) { return client().OneWay(ctx) },
		frame:   n.oneWays.frame,
		receive: n.oneWays.receive,
		broken:  func(err error) { p.region.log.Warn("one-way commands may be lost", "addr", addr, "error", err) },
	}
	p.region.wait.Add(3)
	go func() { defer p.region.wait.Done(); replicate.run(ctx) }()
	go func() {
		defer p.region.wait.Done()
		deliver.run(ctx)
		n.calls.broken(ctx.Err())
	}()
	go func() {
		defer p.region.wait.Done()
		oneWay.run(ctx)
		n.oneWays.gone(&p.dropped, ctx.Err())
	}()
	return n
}

// close opens no lane from now on. Those there are end with the region's life.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
}

// keep ends the lanes to addresses that no member has any more.
func (p *peers) keep(v *shard.View) {
	wanted := make(map[string]bool, len(v.Members))
	for _, m := range v.Members {
		wanted[m.Addr] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, n := range p.mu.byAddr {
		if !wanted[addr] {
			n.cancel()
			p.region.cfg.Port.HangUp(addr) // one who had the map before may have called there since
			delete(p.mu.byAddr, addr)
		}
	}
}

// deliveries pairs the answers of one peer with the calls that were sent to it. Safe for concurrent use.
type deliveries struct {
	queue *funnel[*call]
	mu    struct {
		sync.Mutex
		number  uint64
		waiting map[uint64]*call
	}
}

func newDeliveries() *deliveries {
	d := &deliveries{queue: newFunnel[*call]()}
	d.mu.waiting = map[uint64]*call{}
	return d
}

// frame packs calls up to the size of a frame and expects their answers.
func (d *deliveries) frame(items []*call) (any, []*call) {
	const header = 64 // bytes of an envelope without its payload, about
	size, n := 0, 0
	for ; n < len(items) && (n == 0 || size+items[n].size() <= maxFrame); n++ {
		size += items[n].size() + header
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.mu.number + 1
	for _, c := range items[:n] {
		d.mu.number++
		d.mu.waiting[d.mu.number] = c
	}
	return &outgoingCalls{calls: items[:n], first: first, now: time.Now()}, items[n:]
}

// receive hands answers to whoever waits, until the stream breaks.
func (d *deliveries) receive(s grpc.ClientStream) error {
	var f incomingAnswers
	var calls []*call
	for {
		if err := s.RecvMsg(&f); err != nil {
			return err
		}
		calls = d.awaited(calls[:0], f.answers)
		for i := range f.answers {
			if c, a := calls[i], &f.answers[i]; c != nil {
				c.to.answer(c.token, a.reply, a.fault)
			}
		}
		clear(calls)
	}
}

// awaited takes the calls that the answers are for off, nil for one that nobody waits for.
func (d *deliveries) awaited(calls []*call, answers []answer) []*call {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range answers {
		calls = append(calls, d.mu.waiting[answers[i].token])
		delete(d.mu.waiting, answers[i].token)
	}
	return calls
}

// broken tells everyone who waits to ask again. What was not sent yet does not stay either: as long as no stream opens nobody would
// take it, and whoever asked may give up.
func (d *deliveries) broken(err error) {
	for _, c := range d.queue.take(nil) {
		c.to.answer(c.token, nil, shard.Errorf(shard.CodeUnavailable, "there is no stream to the owner: %v", err))
	}
	d.mu.Lock()
	waiting := d.mu.waiting
	d.mu.waiting = map[uint64]*call{}
	d.mu.Unlock()
	for _, c := range waiting {
		c.to.answer(c.token, nil, shard.Unknownf(shard.CodeUnavailable, "the stream to the owner broke: %v", err))
	}
}
