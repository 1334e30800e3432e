package coordinator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	watchBeat    = 200 * time.Millisecond // an idle watch says that it lives
	watchSilence = 700 * time.Millisecond // a watch that says nothing for so long is dropped
	followPause  = 50 * time.Millisecond  // before another source is tried
	avoidFor     = 500 * time.Millisecond // a source that failed is not tried again for so long unless it is the only one
)

// A follower keeps this node's map: it watches the leader when one is known, otherwise any voter, itself included.
//
// The leader comes first because it knows of a commit before the others do. Whatever the source, a map is a function of its
// index, and an older index is never applied, so sources can change at any time.
//
// One goroutine, run, is the only writer and the only caller of OnView.
type follower struct {
	c        *Coordinator
	news     bell                       // rings when the map has reached another index
	again    chan struct{}              // OnView should be called although nothing changed; kept until run gets to it, whatever it does now
	avoiding map[string]time.Time       // owned by run
	shown    atomic.Pointer[shard.View] // the newest map that OnView has returned from, or that changes nothing for it
	mu       struct {
		sync.Mutex
		view    *shard.View
		floor   shard.Index // of what was shown before forget
		current time.Time   // when the map was last known to be current
		leader  leaderKnown
	}
}

// leaderKnown is who leads, as a watch told it.
type leaderKnown struct {
	node shard.NodeID
	addr string
	term uint64
}

func newFollower(c *Coordinator) *follower {
	f := &follower{c: c, avoiding: map[string]time.Time{}, again: make(chan struct{}, 1)}
	f.mu.view, f.mu.current = shard.NewView(), time.Now()
	f.shown.Store(f.mu.view)
	return f
}

func (f *follower) view() *shard.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.view
}

func (f *follower) age() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.mu.current)
}

func (f *follower) leader() (shard.NodeID, string, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.leader.node, f.mu.leader.addr, f.mu.leader.term
}

// announce has OnView called once more.
func (f *follower) announce() {
	select {
	case f.again <- struct{}{}:
	default: // it is to be called already
	}
}

// reach waits until the map has reached the index.
func (f *follower) reach(ctx context.Context, index shard.Index) error {
	for {
		news := f.news.listen()
		now := f.view().Index
		if now >= index {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return shard.Errorf(shard.CodeBehind, "this node's map is at %d, not yet at %d", now, index)
		}
	}
}

func (f *follower) run() {
	ctx := f.c.life.ctx
	for ctx.Err() == nil {
		if addr, local := f.source(); local {
			f.followLocal(ctx)
		} else if addr != "" {
			f.followRemote(ctx, addr)
		}
		pause(ctx, followPause)
	}
}

// source decides whom to follow: this node's own state, or the node at addr; neither when nobody is known.
func (f *follower) source() (addr string, local bool) {
	v := f.c.voter.Load()
	if v != nil && v.leads() {
		return "", true
	}
	_, leader, _ := f.c.Leader()
	if leader != "" && leader != f.c.cfg.Addr && !f.avoided(leader) {
		return leader, false
	}
	if v != nil && v.raft.Load() != nil {
		return "", true
	}
	return f.c.contact(), false
}

func (f *follower) avoided(addr string) bool { return time.Now().Before(f.avoiding[addr]) }

func (f *follower) avoid(addr string) {
	clear(f.avoiding)
	f.avoiding[addr] = time.Now().Add(avoidFor)
	f.c.contacts.failed(addr, true)
	f.mu.Lock()
	if f.mu.leader.addr == addr {
		f.mu.leader = leaderKnown{term: f.mu.leader.term}
	}
	f.mu.Unlock()
}

// followLocal takes the map from the state machine of this node until another source is better.
func (f *follower) followLocal(ctx context.Context) {
	v := f.c.voter.Load()
	if v == nil {
		return // the node has just left its seat
	}
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	for {
		news, leaders := v.machine.news.listen(), f.c.leaders.listen()
		if _, local := f.source(); !local {
			return
		}
		u := v.machine.since(f.view().Index)
		if !u.behind && v.current() {
			f.publish(u.view, len(u.deltas) > 0 || u.whole != nil)
			f.note(v.lastCurrent())
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-leaders:
		case <-beat.C:
		case <-f.again:
			f.repeat()
		}
	}
}

// note remembers when the map was current, by a voter's own knowledge.
func (f *follower) note(current time.Time) {
	node, addr, term := f.c.Leader()
	f.mu.Lock()
	f.mu.current = current
	f.mu.leader = leaderKnown{node, addr, term}
	f.mu.Unlock()
}

// followRemote takes the map from another node until the watch breaks or another source is better.
func (f *follower) followRemote(ctx context.Context, addr string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan *wire.WatchEvent)
	broken := make(chan error, 1)
	go func() { broken <- f.receive(ctx, addr, events) }()
	defer func() { cancel(); <-broken }()
	silence := time.NewTimer(watchSilence)
	defer silence.Stop()
	var parts fsm.Parts
	for {
		leaders := f.c.leaders.listen()
		select {
		case <-ctx.Done():
			return
		case err := <-broken:
			broken <- err
			f.c.log.Debug("the watch broke", "addr", addr, "error", err)
			if !f.strange(err) {
				f.avoid(addr)
			}
			return
		case <-silence.C:
			f.c.log.Debug("the watch is silent", "addr", addr)
			f.avoid(addr)
			return
		case <-f.again:
			f.repeat()
			silence.Reset(watchSilence)
		case e := <-events:
			if !f.take(e, addr, &parts) {
				f.avoid(addr)
				return
			}
			silence.Reset(watchSilence) // that this node took long over an event is no silence of the source
		case <-leaders:
		}
		if now, local := f.source(); local || now != addr && !f.anyone(addr) {
			return
		}
	}
}

// strange reports whether a node of another group was met before this one is registered. Start is to hear of it from the very same
// node, so that is not passed over, as it would be for one that does not answer.
func (f *follower) strange(err error) bool {
	return f.c.Session() == 0 && shard.CodeOf(transport.Typed(err)) == shard.CodeWrongGroup
}

// anyone reports whether addr is as good a source as any: no leader is known.
func (f *follower) anyone(addr string) bool {
	_, leader, _ := f.c.Leader()
	return leader == "" || leader == addr || f.avoided(leader)
}

func (f *follower) receive(ctx context.Context, addr string, events chan<- *wire.WatchEvent) error {
	req := &wire.WatchRequest{From: uint64(f.view().Index), Node: string(f.c.cfg.Node), Parts: true}
	stream, err := wire.NewGroupClient(f.c.cfg.Port.Peer(addr)).Watch(ctx, req)
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take applies one event. It returns false when the source is of no use now.
func (f *follower) take(e *wire.WatchEvent, addr string, parts *fsm.Parts) bool {
	f.hear(e)
	if e.Behind {
		return false
	}
	view, changed := f.view(), false
	for _, b := range e.Deltas {
		d, err := parts.Take(b)
		if err != nil {
			f.c.log.Warn("a delta cannot be read", "addr", addr, "error", err)
			return false
		}
		if d == nil || d.Index <= view.Index {
			continue
		}
		next, err := view.With(d)
		if err != nil {
			f.c.log.Warn("a delta does not fit the map: starting over", "addr", addr, "error", err)
			f.forget()
			return false
		}
		view, changed = next, true
	}
	if shard.Index(e.Index) > view.Index {
		next := *view // entries that changed nothing
		next.Index = shard.Index(e.Index)
		view = &next
	}
	if view.Index < f.floor() {
		return false // the source is behind what was shown
	}
	f.publish(view, changed)
	return true
}

func (f *follower) floor() shard.Index {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.floor
}

// forget makes the next watch begin with the whole map. The one at hand stays in use meanwhile, and an older one does not take its place.
func (f *follower) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	stale := *f.mu.view
	f.mu.floor = max(f.mu.floor, stale.Index)
	stale.Index = 0
	f.mu.view = &stale
}

// hear notes who leads, and when the source's knowledge was current, if that is later than what is known.
func (f *follower) hear(e *wire.WatchEvent) {
	f.mu.Lock()
	if current := time.Now().Add(-time.Duration(e.AgeMicros) * time.Microsecond); current.After(f.mu.current) {
		f.mu.current = current
	}
	before := f.mu.leader
	if e.Leader != "" && e.Term >= before.term {
		f.mu.leader = leaderKnown{shard.NodeID(e.Leader), e.LeaderAddr, e.Term}
	}
	changed := f.mu.leader != before
	f.mu.Unlock()
	if changed {
		f.c.leaders.ring()
	}
}

// publish makes a newer map this node's.
func (f *follower) publish(v *shard.View, changed bool) {
	f.mu.Lock()
	before, newer := f.mu.view, v.Index > f.mu.view.Index
	if newer {
		f.mu.view = v
	}
	f.mu.Unlock()
	if !newer {
		return
	}
	if changed {
		f.c.cfg.OnView(v)
		for _, addr := range formerAddrs(before, v) { // after OnView, so that nobody who follows the map calls there any more
			f.c.cfg.Port.HangUp(addr)
		}
		if err := f.c.cfg.Directory.remember(voterAddrs(v)); err != nil {
			f.c.log.Warn("where the voters are could not be noted", "error", err)
		}
	}
	f.shown.Store(v)
	f.c.session.seen(v)
	f.news.ring()
}

func (f *follower) repeat() {
	v := f.shown.Load()
	f.c.cfg.OnView(v)
	f.c.session.seen(v)
}
