package coordinator

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"muster/shard"
	"muster/transport/wire"
)

const (
	watchPace  = 20 * time.Millisecond // between two events that carry no change
	watchBatch = 512                   // deltas of one event, or parts of them
	watchBytes = 256 << 10             // of those of one event: on its way for less than watchSilence, over a line of 4 Mbit/s too
	shortAge   = 24 * time.Hour        // of an event that others follow: older than whatever the watcher knows
	watchItems = 4_096                 // placements of a delta that are encoded while the watcher hears nothing
)

// current reports whether this voter's map may be served: it has been told by a leader in this life how far the log is
// committed, and has applied that much. After a restart entries are applied one by one, and the map passes through
// states that were over long ago.
func (v *voter) current() bool {
	if v.caughtUp.Load() {
		return true
	}
	r := v.raft.Load()
	if r == nil {
		return false
	}
	if v.leads() {
		return v.leading.isReady()
	}
	committed := r.CommitIndex()
	if committed == 0 {
		return false
	}
	needed, err := v.store.settled(committed)
	if _, index, _ := v.machine.look(); err != nil || index < shard.Index(needed) {
		return false
	}
	v.caughtUp.Store(true)
	return true
}

// lastCurrent is when this voter's map was last known to be current.
func (v *voter) lastCurrent() time.Time {
	r := v.raft.Load()
	if r.State() == raft.Leader {
		return time.Now()
	}
	if at := r.LastContact(); !at.IsZero() {
		return at
	}
	return v.c.clock.started
}

// A watcher is one node's watch, served from this voter's state. It sends changes at once, news without a change at a pace,
// and something at every beat. A slow receiver holds up only itself: what it missed is looked up when it is ready.
type watcher struct {
	v     *voter
	from  shard.Index
	parts bool // it reads small parts, and signs of life before them; clients and earlier builds do not
	sent  time.Time
	send  func(*wire.WatchEvent) error
}

// run serves until ctx ends or the watcher must go elsewhere.
func (w *watcher) run(ctx context.Context, draining <-chan struct{}) error {
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	due := true
	for {
		news, leaders := w.v.machine.news.listen(), w.v.c.leaders.listen()
		more, err := w.step(due)
		if err != nil || !more {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-draining:
			return nil
		case <-w.v.life.done():
			return nil
		case <-beat.C:
			due = true
			continue
		case <-leaders:
		case <-news:
		}
		w.rest(ctx)
		due = true
	}
}

// rest lets a moment pass when the news is no change of the map, so that a busy group does not send an event for each
// entry. A change ends it at once.
func (w *watcher) rest(ctx context.Context) {
	over := time.NewTimer(watchPace - time.Since(w.sent))
	defer over.Stop()
	for {
		news := w.v.machine.news.listen()
		if u := w.v.machine.since(w.from); len(u.deltas) > 0 || u.whole != nil {
			return
		}
		select {
		case <-news:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// step sends what is new, or a sign of life when due. More is false when this voter is behind the watcher.
func (w *watcher) step(due bool) (more bool, err error) {
	began, u := time.Now(), w.v.machine.since(w.from)
	e := w.event(u.index)
	if u.behind || !w.v.current() {
		e.Behind = true
		return false, w.send(e)
	}
	load := cargo{w: w, event: w.event(w.from)}
	if u.whole != nil {
		err = load.add(u.whole.Index, true, func() [][]byte { return w.v.machine.encodedWhole(u.whole, w.parts) })
	}
	for _, l := range u.deltas {
		if err == nil {
			err = load.add(l.delta.Index, len(l.delta.Placements) > watchItems, func() [][]byte { return l.encoded(w.parts) })
		}
	}
	if err != nil {
		return false, err
	}
	e.Deltas = load.event.Deltas
	if !due && len(e.Deltas) == 0 && u.index == w.from {
		return true, nil
	}
	w.from, w.sent = u.index, time.Now()
	e.AgeMicros += w.sent.Sub(began).Microseconds()
	return true, w.send(e)
}

// cargo puts deltas into events, of which none is larger than it has to be, and sends those that are full. The index of an event
// is that of the newest delta that is whole with it.
type cargo struct {
	w     *watcher
	event *wire.WatchEvent // the one that is not sent yet
	bytes int
}

func (c *cargo) add(index shard.Index, large bool, encoded func() [][]byte) error {
	parts, err := c.w.encode(large, encoded)
	if err != nil {
		return err
	}
	for _, b := range parts {
		if n := len(c.event.Deltas); n == watchBatch || n > 0 && c.bytes+len(b) > watchBytes {
			if err := c.w.send(c.w.short(c.event)); err != nil {
				return err
			}
			c.event, c.bytes = c.w.event(shard.Index(c.event.Index)), 0
		}
		c.event.Deltas = append(c.event.Deltas, b)
		c.bytes += len(b)
	}
	c.event.Index = uint64(index)
	return nil
}

// encode has something encoded. What is large takes long: the watcher is shown signs of life meanwhile, or it would look for another
// source, where it has to wait as long, and never get it on a slow machine.
func (w *watcher) encode(large bool, encoded func() [][]byte) ([][]byte, error) {
	if !large || !w.parts {
		return encoded(), nil
	}
	done := make(chan [][]byte, 1)
	go func() { done <- encoded() }()
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	for {
		select {
		case parts := <-done:
			return parts, nil
		case <-beat.C:
			if err := w.send(w.short(w.event(w.from))); err != nil {
				return nil, err
			}
		}
	}
}

// short says of an event that the watcher lacks something when it has it: that does not make its map current.
func (w *watcher) short(e *wire.WatchEvent) *wire.WatchEvent {
	if w.parts {
		e.AgeMicros = shortAge.Microseconds()
	}
	return e
}

// event is an event without changes.
func (w *watcher) event(index shard.Index) *wire.WatchEvent {
	node, addr, term := w.v.leader()
	return &wire.WatchEvent{
		Index: uint64(index), Leader: string(node), LeaderAddr: addr, Term: term,
		AgeMicros: time.Since(w.v.lastCurrent()).Microseconds(),
	}
}

// encodedWhole encodes a whole map, once for all who ask for the same.
func (m *machine) encodedWhole(v *shard.View, parts bool) [][]byte {
	m.whole.Lock()
	defer m.whole.Unlock()
	if m.whole.of != v {
		m.whole.of, m.whole.encodings = v, encodings{}
	}
	return m.whole.encodings.of(parts, v.Whole)
}
