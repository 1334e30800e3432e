package simulation

import (
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// disk is a data directory. Writes are queued and synced some time later, all that gathered in one go; a crash keeps
// what was synced and, of the rest, any prefix: a write may be there though nobody was told.
type disk struct {
	directory shard.DirectoryID
	session   shard.SessionID // the newest the node has stored
	votes     bool            // it holds a Raft store
	copies    []*stored       // by copy id
	queue     []queued
	busy      bool
	ends      time.Duration // when the sync that is running does
	slow      time.Duration // added to each sync
	stalled   time.Duration // until when nothing is synced
}

// queued is a write that is not synced.
type queued struct {
	apply func()
	done  func()
}

// stored is the durable data of one copy.
type stored struct {
	shard     shard.ID
	id        shard.CopyID
	promised  shard.Epoch
	confirmed shard.LSN
	log       chain
	staged    *staging // nil for nothing
	lost      bool     // the directory does not hold the data any more, or they are rotten
	rotten    bool     // whoever reads them finds that
	past      bool     // they are what they were long ago: the directory was set back
}

// chain is a log of records, each with the hash of everything up to it.
type chain struct {
	records []replication.Record
	hashes  []uint64
	base    shard.LSN // the log starts after it, see shorten.go
}

// shared returns the chain as another may go on with it: what both have is not copied, and neither overwrites it.
func (c *chain) shared() chain { return chain{slices.Clip(c.records), slices.Clip(c.hashes), c.base} }

func (c *chain) end() shard.LSN { return shard.LSN(len(c.records)) }

// at returns the hash of the log up to an LSN it has.
func (c *chain) at(lsn shard.LSN) uint64 {
	if lsn == 0 {
		return 0
	}
	return c.hashes[lsn-1]
}

func (c *chain) cut(lsn shard.LSN) {
	if lsn <= c.end() {
		c.records, c.hashes = slices.Clip(c.records[:lsn-1]), slices.Clip(c.hashes[:lsn-1])
	}
}

func (c *chain) add(r replication.Record) {
	h := mix(c.at(c.end()), uint64(r.Epoch))
	h = mix(mix(h, uint64(r.LSN)), uint64(r.Kind))
	h = mix(mix(h, uint64(r.Request.Session)), r.Request.Number)
	for _, b := range r.Entity {
		h = mix(h, uint64(b))
	}
	for _, b := range r.Body {
		h = mix(h, uint64(b)+256)
	}
	c.records, c.hashes = append(c.records, r), append(c.hashes, h)
}

// state is what the protocol starts from.
func (s *stored) state() replication.State {
	st := replication.State{Copy: s.id, Promised: s.promised, Confirmed: min(s.confirmed, s.log.end())}
	if base := s.log.base; base > 0 {
		st.Base = s.log.records[base-1].Position
		st.Last, st.History = st.Base, shard.History(nil).After(st.Base)
	}
	for i := range s.log.records[s.log.base:] {
		st.Last = s.log.records[int(s.log.base)+i].Position
		st.History = st.History.Extend(st.Last)
	}
	return st
}

// apply carries out a write.
func (s *stored) apply(w *world, wr *replication.Write) {
	if wr.Promise != 0 {
		if wr.Promise < s.promised {
			w.fail("copy %d: its promise goes back from %d to %d", s.id, s.promised, wr.Promise)
		}
		s.promised = wr.Promise
	}
	if wr.Install.LSN != 0 {
		if s.staged == nil || s.staged.base != wr.Install {
			w.fail("copy %d: a snapshot up to %s takes the log's place, and is not staged", s.id, wr.Install)
		}
		s.log.replace(s.staged)
		s.staged = nil
	}
	if wr.Truncate != 0 {
		if wr.Truncate <= s.log.base {
			w.fail("copy %d: the journal is to be cut at %d, the log starts after %d", s.id, wr.Truncate, s.log.base)
		}
		s.log.cut(wr.Truncate)
	}
	for i := range wr.Records {
		if wr.Records[i].LSN != s.log.end()+1 {
			w.fail("copy %d: the journal got record %s after %d", s.id, wr.Records[i].Position, s.log.end())
		}
		s.log.add(wr.Records[i])
	}
	s.confirmed = max(s.confirmed, wr.Confirmed)
}

// write queues something for the next sync. Done is called by the process that is alive then, if it is still this one.
func (n *node) write(apply, done func()) {
	p := n.process
	n.disk.queue = append(n.disk.queue, queued{apply, func() { p.later(done) }})
	n.sync()
}

// sync starts one when none is running.
func (n *node) sync() {
	d := n.disk
	if d.busy || len(d.queue) == 0 {
		return
	}
	d.busy = true
	took := n.w.between(200*time.Microsecond, 3*time.Millisecond) + d.slow + max(0, d.stalled-n.w.now)
	d.ends = n.w.now + took
	n.w.after(took, func() {
		if n.disk != d || !d.busy {
			return
		}
		batch := d.queue
		d.queue, d.busy = nil, false
		for _, q := range batch {
			q.apply()
		}
		for _, q := range batch {
			q.done()
		}
		n.sync()
	})
}

// crash loses what was not synced, but for a prefix that made it all the same.
func (d *disk) crash(w *world) {
	if len(d.queue) > 0 {
		for _, q := range d.queue[:w.dice.IntN(len(d.queue)+1)] {
			q.apply()
		}
	}
	d.queue, d.busy = nil, false
}

func (d *disk) find(id shard.CopyID) *stored {
	i := slices.IndexFunc(d.copies, func(s *stored) bool { return s.id == id })
	if i < 0 {
		return nil
	}
	return d.copies[i]
}
