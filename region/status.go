package region

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"muster/replication"
	"muster/shard"
)

// Hosted is what this node knows of a copy it holds, or of a volatile shard it owns.
type Hosted struct {
	Shard     shard.ID
	Copy      shard.CopyID // 0 for a volatile shard
	Role      string       // replica, learner, establishing, primary, owner, damaged, missing, lost, aside
	Epoch     shard.Epoch
	Base      shard.LSN // the log starts after it
	Last      shard.LSN
	Durable   shard.LSN
	Confirmed shard.LSN
	Entities  int    // in memory
	Waiting   string // what it waits for, in words; "" for nothing
}

// Hosted tells what this node holds, by shard. It waits a moment for hosts that are busy and leaves out who is too busy.
func (r *Region) Hosted() []Hosted {
	hosts := slices.Collect(r.copies.hosts.all())
	answers := make(chan Hosted, len(hosts))
	asked := 0
	for _, h := range hosts {
		if h.inbox.put(func(b *batch) { b.queries = append(b.queries, answers) }) {
			asked++
		}
	}
	all := r.copies.hosted()
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for ; asked > 0; asked-- {
		select {
		case s := <-answers:
			all = append(all, s)
		case <-patience.C:
			asked = 1
		}
	}
	slices.SortFunc(all, func(a, b Hosted) int { return a.Shard.Compare(b.Shard) })
	return all
}

// hosted lists what has no host: damaged and missing copies, volatile shards.
func (c *copies) hosted() []Hosted {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Hosted
	for id, h := range c.mu.held {
		switch {
		case h.Damage != "":
			all = append(all, Hosted{Shard: h.shard, Copy: id, Role: "damaged", Waiting: h.Damage})
		case h.Missing:
			all = append(all, Hosted{Shard: h.shard, Copy: id, Role: "missing", Waiting: "to be replaced: the directory does not hold it"})
		case h.aside && c.keptAside(h.shard, id):
			all = append(all, Hosted{Shard: h.shard, Copy: id, Role: "aside", Waiting: "an operator: the shard went on without it"})
		case h.aside:
			all = append(all, Hosted{Shard: h.shard, Copy: id, Role: "lost", Waiting: "to be replaced: the map gave it up"})
		}
	}
	for _, v := range c.mu.volatile {
		if s, ok := v.status(); ok {
			all = append(all, s)
		}
	}
	return all
}

func (c *copies) keptAside(id shard.ID, copy shard.CopyID) bool {
	p := c.region.view.Load().Placement(id)
	if p == nil {
		return false
	}
	_, kept := p.KeptAside(copy)
	return kept
}

// status is the host's own part of Hosted.
func (h *host) status() Hosted {
	s := h.protocol.Status()
	out := Hosted{
		Shard: h.id, Copy: h.copy, Role: "replica", Epoch: s.Promised,
		Base: s.Base, Last: s.Last.LSN, Durable: s.Durable, Confirmed: s.Confirmed, Entities: len(h.cells.residents), Waiting: h.awaited(),
	}
	switch {
	case h.term != nil && h.term.serving:
		out.Role = "primary"
	case h.term != nil:
		out.Role = "establishing"
	case h.learner:
		out.Role = "learner"
	}
	return out
}

// awaited says what the copy waits for, "" for nothing.
func (h *host) awaited() string {
	switch t := h.term; {
	case t == nil:
		return h.receiving()
	case !t.active && h.protocol.Status().Established:
		return fmt.Sprintf("the coordinator to activate epoch %d", t.epoch)
	case t.handing.Paused:
		return fmt.Sprintf("running commands to end and copy %d to hold everything: it is to lead", t.placement.HandTo)
	case t.serving && h.region.muted(h.registered()):
		return fmt.Sprintf("a lease: the last one ran out more than %s ago", h.registered().Voice(h.region.limits.Autonomy))
	}
	s := h.protocol.Status()
	if len(s.Awaited) == 0 {
		return ""
	}
	var names []string
	for _, id := range s.Awaited {
		names = append(names, fmt.Sprintf("copy %d on %s", id, h.term.peers[id]))
	}
	return fmt.Sprintf("record %d to be durable on %s", s.Last.LSN, strings.Join(names, ", "))
}

// receiving says how far a shard snapshot on its way to this copy has come, "" when there is none.
func (h *host) receiving() string {
	s, some := h.storage.journal.Staged(h.copy)
	if !some {
		return ""
	}
	at := "nothing"
	switch s.Last.Kind {
	case replication.KindSnapshot:
		at = fmt.Sprintf("entities up to %q", s.Last.Entity)
	case replication.KindRequests:
		at = fmt.Sprintf("all entities, and the requests of sessions up to %d", s.Last.Session)
	}
	return fmt.Sprintf("the rest of the snapshot that copy %d sends in place of the records up to %d: it has %s", s.Source, s.Base.LSN, at)
}

// level reports whether every other copy is known to hold the whole log.
func (h *host) level() bool {
	s := h.protocol.Status()
	for _, p := range s.Peers {
		if p.Matched < s.Last.LSN || p.Silent > 0 {
			return false
		}
	}
	return s.Established
}

// pulse is how a host tells the region's beat whether it wants ticks, and what to report. Safe for concurrent use.
type pulse struct {
	report atomic.Pointer[shard.Report]
	asleep atomic.Bool
	given  atomic.Bool                                      // the shard was handed over, and its next primary is not known to serve yet
	count  struct{ messages, bytes, records atomic.Uint64 } // since the host began; added to once a batch
	calm   int                                              // batches of nothing but ticks in a row; owned by the host
}

// calmTicks is after how many uneventful ticks a host that waits for nothing is left alone.
const calmTicks = 30

func (p *pulse) want(r *shard.Report) { p.report.Store(r) }

func (p *pulse) beats() bool { return !p.asleep.Load() }

// drained notes what a batch was like. A replica needs no ticks, and neither does a primary whose copies all have
// everything: nothing will happen until something arrives.
func (p *pulse) drained(b *batch, h *host) {
	if b.ticks > 0 {
		p.calm++
	} else {
		p.calm = 0
	}
	idle := !h.restless() && (h.term == nil || p.calm > calmTicks && h.outputs.len() == 0 && h.level())
	if p.asleep.Load() != idle {
		p.asleep.Store(idle)
	}
}
