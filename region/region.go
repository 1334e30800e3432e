// Package region is the data plane of a node: it hosts the node's copies of shards, runs the entities of those it leads,
// replicates their records, and carries envelopes to wherever their entity lives.
//
// Reading order: sender.go (an Ask from its origin) and oneway.go (a command that nobody waits for), host.go (one copy),
// arrive.go and outcome.go (one command at its owner), outgoing.go (what leaves), copies.go and retire.go (what the map makes
// of this node), change.go and handover.go (how C and the lead move), link.go (streams between nodes).
package region

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/journal"
	"muster/region/route"
	"muster/shard"
	"muster/transport"
)

// Directory is what the region needs of the control plane. Safe for concurrent use; no method blocks.
type Directory interface {
	// Session returns this process's session, 0 before it is registered.
	Session() shard.SessionID
	// DirectoryID names the data directory that the journal lives in.
	DirectoryID() shard.DirectoryID
	// Report passes on what the region found about a copy. It is repeated until the map shows the effect.
	Report(shard.Report)
	// LeaseUntil returns when this session's lease ends, on Clock; 0 when it has none.
	LeaseUntil() time.Duration
}

// Config of a Region. Journal, Logs, Port, Directory and Node are required.
type Config struct {
	Node      shard.NodeID
	Journal   *journal.Journal
	Logs      *Logs // what the journal's logs were shown to when it was opened
	Port      *transport.Port
	Types     []entity.Definition // what this node can run; it may hold copies of other types too
	Directory Directory
	Logger    hclog.Logger         // nil is silent
	Limits    Limits               // zero fields mean their defaults
	Clock     func() time.Duration // what leases are counted on; nil means CLOCK_BOOTTIME
}

// An owner runs the commands of one shard.
type owner interface {
	// deliver takes a call in, which is then answered exactly once, or says why not.
	deliver(*call) *shard.Error
}

// A Region is the data plane of one node. All methods are safe for concurrent use, but Update, which one goroutine calls
// with one map after the other.
type Region struct {
	cfg     Config
	log     hclog.Logger
	limits  Limits
	types   map[shard.TypeName]entity.Definition
	view    atomic.Pointer[shard.View]
	owners  owners
	origin  origin
	peers   *peers
	workers workers // for handlers and loads
	copies  copies
	began   time.Time
	life    context.Context // ends when the region stops, whatever the reason
	end     context.CancelFunc
	wait    sync.WaitGroup
	fault   atomic.Pointer[shard.Error] // why it stopped, nil while it works
}

// New opens every copy that the journal holds as a replica. It asks and answers nothing before the first Update, and answers no
// primary and no Seal before a map shows this process's session.
func New(cfg Config) (*Region, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Clock == nil {
		cfg.Clock = new(leaseClock).now
	}
	r := &Region{
		cfg: cfg, log: cfg.Logger, limits: cfg.Limits.withDefaults(),
		types: map[shard.TypeName]entity.Definition{}, began: time.Now(),
	}
	for _, d := range cfg.Types {
		r.types[d.Spec().Name] = d
	}
	r.life, r.end = context.WithCancel(context.Background())
	r.peers = &peers{region: r, here: newLaneRoom()}
	r.peers.mu.byAddr = map[string]*peer{}
	r.workers.limit = r.limits.Handlers
	r.view.Store(shard.NewView())
	r.origin.init(r)
	if err := r.copies.init(r); err != nil {
		return nil, err
	}
	r.wait.Add(1)
	go r.beat()
	return r, nil
}

// now is the region's clock for waits: it starts at 0 and stands still while the machine sleeps.
func (r *Region) now() time.Duration { return time.Since(r.began) }

func (r *Region) self() route.Self {
	return route.Self{Node: r.cfg.Node, Session: r.cfg.Directory.Session()}
}

// owner returns who runs the shard's commands here, nil for nobody.
func (r *Region) owner(id shard.ID) owner { return r.owners.get(id) }

// Update follows the newest map. It never blocks: what has to be done is handed to whoever owns it.
func (r *Region) Update(v *shard.View) {
	old := r.view.Swap(v)
	if r.stopped() != nil {
		return
	}
	if len(old.Members) > 0 {
		r.peers.keep(v)
	}
	self := r.self()
	adopted := self.Session != r.copies.session // placements that named it before it was adopted have to be looked at again
	r.copies.session = self.Session
	settled := r.copies.settle(v, self.Session) // copies that are no more can be told from now on
	for name, t := range v.Types {
		was := old.Types[name]
		if !adopted && !settled && was == t && old.LastSession == v.LastSession && len(old.Sessions) == len(v.Sessions) {
			continue
		}
		for i, p := range t.Placements {
			changed := was == nil || was.Placements[i] != p
			if p != nil && (changed || settled || adopted && p.Node == self.Node) {
				r.copies.follow(p, t.Spec)
			}
			if changed || p != nil && p.Node == self.Node {
				r.origin.moved(shard.ID{Type: name, Number: shard.Number(i)})
			}
		}
	}
	if settled {
		r.copies.disown()
		close(r.copies.admitted)
	}
}

// admitted waits until the group has taken this process's directory for what it is, and the copies know what it says of them. A
// directory that was set back looks like any other: it would acknowledge what it has promised to refuse, and offer a log
// that others have gone on from.
func (r *Region) admitted(ctx context.Context) error {
	select {
	case <-r.copies.admitted:
		return nil
	case <-r.life.Done():
		return r.stopped()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopped says why nothing is taken any more, nil while the region works.
func (r *Region) stopped() *shard.Error { return r.fault.Load() }

// Err returns why the region stopped for good, nil while it works and after an orderly Close.
func (r *Region) Err() error {
	if f := r.fault.Load(); f != nil && f.Code != shard.CodeClosed {
		return f
	}
	return r.copies.fault()
}

// fail stops the region for good: what the journal cannot keep must not be promised.
func (r *Region) fail(err error) {
	if r.copies.failed(err) {
		r.log.Error("the journal failed, the region stops for good", "error", err)
		r.stop()
	}
}

func (r *Region) stop() {
	r.fault.CompareAndSwap(nil, shard.Unknownf(shard.CodeClosed, "the node is stopping"))
	r.end()
	r.peers.close()
	r.copies.close()
	r.workers.close()
	r.origin.close()
}

// Close ends the region: nothing new is asked through it, and what was asked gets lastAsks to follow its shard to another
// node; then nothing new is taken, running commands get until ctx ends to be answered, and everything stops and is joined.
// A handler that ignores its context is waited for until ctx ends and left behind then.
func (r *Region) Close(ctx context.Context) error {
	r.origin.shut.Store(true)
	asks, cancel := context.WithTimeout(ctx, lastAsks)
	r.quiet(asks, r.origin.underWay.sum)
	cancel()
	r.fault.CompareAndSwap(nil, shard.Unknownf(shard.CodeClosed, "the node is stopping"))
	r.quiet(ctx, r.copies.underWay)
	r.stop()
	joined := make(chan struct{})
	go func() {
		r.wait.Wait()
		r.copies.workers.wait.Wait()
		r.workers.wait.Wait()
		close(joined)
	}()
	select {
	case <-joined:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Succeeded waits until the shards that this node has handed over are served by others, as far as it can tell, or ctx ends:
// their next primaries may need the copies here to begin.
func (r *Region) Succeeded(ctx context.Context) { r.quiet(ctx, r.copies.unserved) }

// quiet waits until nothing is under way, the region has ended or ctx ends.
func (r *Region) quiet(ctx context.Context, underWay func() int64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for underWay() > 0 {
		select {
		case <-tick.C:
		case <-r.life.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// beat lets time pass for everything that waits, until the region ends.
func (r *Region) beat() {
	defer r.wait.Done()
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.copies.tick(r.now())
			r.reportDropped()
		case <-r.cfg.Journal.Failed():
			r.fail(r.cfg.Journal.Err())
			return
		case <-r.life.Done():
			return
		}
	}
}

// muted reports whether the lease ran out so long ago that journaled shards of the type stop confirming.
func (r *Region) muted(spec shard.Spec) bool {
	return r.cfg.Clock() > r.cfg.Directory.LeaseUntil()+spec.Voice(r.limits.Autonomy)
}
