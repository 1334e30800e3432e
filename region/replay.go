package region

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// A replay makes the cells of several entities together: their records are read in one sweep over the journal, in the order in
// which they stand there. The err of each load tells how it went. It belongs to one goroutine, but for what is atomic.
type replay struct {
	folding atomic.Pointer[load] // whose state is made, nil when no fold runs
	turn    atomic.Uint64        // rises with every fold
	only    atomic.Pointer[load] // nobody waits for another load any more; nil while all count
	wants   []journal.Want
	of      []*load // of each want
}

var (
	errGoexit  = errors.New("a fold ended its goroutine")
	errGivenUp = errors.New("nobody waits for it")
)

func (p *replay) run(j *journal.Journal, loads []*load) {
	loads = slices.Clone(loads) // what becomes of the pass meanwhile does not matter here
	for _, l := range loads {
		l.cell, l.err, l.base = l.host.def.NewCell(l.of.id), nil, 0
	}
	p.restore(j, loads)
	p.sweep(j, loads, func(l *load) []shard.LSN { return l.path.after }, func(l *load, r *replication.Record) error {
		if r.Seq <= l.cell.Seq() {
			return nil
		}
		if err := l.cell.Replay(r.Seq, r.Body); err != nil {
			return fmt.Errorf("record %d: %w", r.LSN, err)
		}
		return nil
	})
	p.folding.Store(nil)
}

// restore begins with each entity's newest snapshot, if it has one. One that is apart from the log may be of records that the
// log still has.
func (p *replay) restore(j *journal.Journal, loads []*load) {
	for _, l := range loads {
		if l.path.base > 0 || !l.path.apart {
			continue
		}
		r, found, err := j.Entity(l.host.copy, l.of.id)
		if l.err = err; found {
			l.err = p.fold(l, &r, (*load).restore)
		}
	}
	p.sweep(j, loads, func(l *load) []shard.LSN {
		if l.path.base > 0 {
			return []shard.LSN{l.path.base}
		}
		return nil
	}, (*load).restore)
}

func (l *load) restore(r *replication.Record) error {
	l.base = r.Seq
	return l.cell.Restore(r.Seq, r.Body)
}

// sweep reads those records of each load that which names, and folds them.
func (p *replay) sweep(j *journal.Journal, loads []*load, which func(*load) []shard.LSN, fold func(*load, *replication.Record) error) {
	p.wants, p.of = p.wants[:0], p.of[:0]
	for _, l := range loads {
		if lsns := which(l); l.err == nil && len(lsns) > 0 {
			p.wants, p.of = append(p.wants, journal.Want{Copy: l.host.copy, LSNs: lsns}), append(p.of, l)
		}
	}
	j.Sweep(p.wants, func(i int, r *replication.Record) error { return p.fold(p.of[i], r, fold) })
	for i, l := range p.of {
		l.err = p.wants[i].Err
	}
}

// fold runs one, and says where it is, for it may never return.
func (p *replay) fold(l *load, r *replication.Record, fold func(*load, *replication.Record) error) error {
	p.folding.Store(l)
	p.turn.Add(1)
	if only := p.only.Load(); only != nil && only != l {
		return errGivenUp
	}
	return fold(l, r)
}

func readOne(j *journal.Journal, copy shard.CopyID, lsn shard.LSN) (replication.Record, error) {
	records, err := j.Read(copy, lsn, lsn, maxFrame)
	if err != nil {
		return replication.Record{}, err
	}
	return records[0], nil
}
