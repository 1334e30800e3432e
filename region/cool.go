package region

import (
	"time"

	"muster/replication"
	"muster/shard"
)

// coldStep takes snapshots of entities that were not written for long, so that the log need not hold their records. It
// makes cells of its own from what is confirmed, and so has nothing to do with those in memory.
type coldStep struct {
	host  *host
	term  *term
	loads []*load
	taken []snapshot
	size  int   // of their states
	err   error // of the first entity that it could not help
}

// cool begins to take snapshots of the entities that hold the log's start back the longest.
func (h *host) cool() {
	s := &coldStep{host: h, term: h.term}
	for _, id := range h.storage.heads.cold(h.storage.compaction.goal, maxCold) {
		p := h.storage.path(id)
		p.until(h.storage.confirmed)
		s.loads = append(s.loads, &load{host: h, term: h.term, of: &resident{id: id}, path: p})
	}
	h.begin(s)
}

func (s *coldStep) work() {
	defer s.host.over(s)
	s.err = errGoexit // unless it returns
	s.err = s.take()
}

func (s *coldStep) take() error {
	for first := 0; first < len(s.loads) && s.size < maxColdBytes; first += coldTogether {
		some := s.loads[first:min(first+coldTogether, len(s.loads))]
		new(replay).run(s.host.region.cfg.Journal, some)
		for _, l := range some {
			state, err := l.state()
			if err != nil {
				s.host.log.Warn("no snapshot of an entity could be taken, its records stay in the log", "entity", l.of.id, "error", err)
				return err
			}
			s.taken = append(s.taken, snapshot{entity: l.of.id, at: l.path.end(), seq: l.cell.Seq(), state: state})
			s.size += len(state)
		}
	}
	return nil
}

// state is the entity's state at the end of the path.
func (l *load) state() ([]byte, error) {
	if l.err != nil {
		return nil, l.err
	}
	b, err := l.cell.Snapshot()
	if limit := l.host.region.limits.Snapshot; err == nil && len(b) > limit {
		err = shard.Errorf(shard.CodeFailed, "the snapshot has %d bytes, more than Snapshot allows: %d", len(b), limit)
	}
	return b, err
}

// finish proposes the snapshots. Whatever could not be helped stays where it is, and so does the log's start there.
func (s *coldStep) finish(h *host, now time.Duration) {
	k := &h.storage.compaction
	k.busy = false
	if s.err != nil || len(s.taken) == 0 {
		k.stuck = true
	}
	if s.term != h.term || !h.mayPropose() || len(s.taken) == 0 {
		return
	}
	p := &h.term.proposal
	for _, taken := range s.taken {
		if heads := &h.storage.heads; !heads.wants(taken.entity, taken.seq) || heads.logged(taken.entity, taken.seq) {
			continue // the entity's handlers have taken one meanwhile
		}
		if r := h.cells.residents[taken.entity]; r != nil && r.run == nil { // a run counts for itself, from where it began
			r.snapped = max(r.snapped, taken.seq)
		}
		p.put(replication.Record{Kind: replication.KindSnapshot, Entity: taken.entity, Seq: taken.seq, Body: taken.state}, nil)
	}
	h.propose(now)
	h.flush()
	k.again, k.await = 0, h.storage.last
}
