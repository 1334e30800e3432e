package journal_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// A world is what the file should hold, kept the simplest way, beside the journal that holds it.
type world struct {
	dice   *rand.Rand
	ids    int
	first  shard.CopyID
	j      *journal.Journal // nil: nothing is called
	copies map[shard.CopyID]*twin
	steps  []string
	events map[string]int
	wait   []chan error
	kept   journal.Kept
}

func newWorld(seed uint64, first shard.CopyID, ids int) *world {
	return &world{
		dice: rand.New(rand.NewPCG(seed, 9)), first: first, ids: ids, copies: map[shard.CopyID]*twin{}, events: map[string]int{},
	}
}

// twin is a copy as it should be.
type twin struct {
	promised  shard.Epoch
	base      shard.Position
	log       []replication.Record
	confirmed shard.LSN
	apart     map[replication.Key]replication.Record
	staging   journal.Staging
	staged    map[replication.Key]replication.Record
}

func newTwin() *twin { return &twin{apart: map[replication.Key]replication.Record{}} }

func (w *twin) last() shard.Position {
	if len(w.log) == 0 {
		return w.base
	}
	return w.log[len(w.log)-1].Position
}

func (w *twin) at(lsn shard.LSN) shard.Position {
	if lsn == w.base.LSN {
		return w.base
	}
	return w.log[lsn-w.base.LSN-1].Position
}

// Everything that can be done to a journal, in any order, batched as it comes, over restarts, with space given back after
// every few keys: what the journal holds is always what it was told.
func TestModel(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(6) {
		w, path := newWorld(seed, 1, 4), filepath.Join(t.TempDir(), "journal.db")
		for n := range 700 {
			if n%60 == 0 {
				w.restart(t, path)
			}
			w.step()
			err := error(nil)
			if n%4 == 0 {
				err = w.settle()
			}
			if n%20 == 0 && err == nil {
				err = w.differs(w.j)
			}
			if err != nil {
				t.Fatalf("seed %d, after %v: %v", seed, w.steps[max(0, len(w.steps)-12):], err)
			}
		}
		must(t, w.settle())
		must(t, w.j.Close())
		for e, n := range w.events {
			total[e] += n
		}
	}
	t.Log(total)
	for _, e := range []string{"write", "truncate", "start", "keep", "drop", "stage", "install", "remove", "front", "moved", "swept"} {
		if total[e] == 0 {
			t.Errorf("no %s in the whole test: %v", e, total)
		}
	}
}

func (w *world) restart(t testing.TB, path string) {
	t.Helper()
	if w.j != nil {
		must(t, w.settle())
		must(t, w.j.Close())
	}
	shown := shownLogs{of: map[shard.CopyID][]replication.Record{}}
	w.j = open(t, path, journal.Options{Reader: shown.reader})
	journal.Hurry(w.j)
	must(t, w.differs(w.j))
	for id, c := range w.copies {
		if got := shown.of[id]; !slices.EqualFunc(got, c.log, equal) {
			t.Fatalf("copy %d: %d records were shown at the opening, want %d", id, len(got), len(c.log))
		}
	}
}

// shownLogs are the logs as a journal showed them while it was opened.
type shownLogs struct {
	mu sync.Mutex
	of map[shard.CopyID][]replication.Record
}

func (s *shownLogs) reader(id shard.CopyID) journal.LogReader {
	change := func(fn func([]replication.Record) []replication.Record) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.of[id] = fn(s.of[id])
	}
	return journal.LogReader{
		Record: func(r *replication.Record) {
			kept := *r
			kept.Body = bytes.Clone(r.Body)
			change(func(log []replication.Record) []replication.Record { return append(log, kept) })
		},
		Truncate: func(from shard.LSN) {
			change(func(log []replication.Record) []replication.Record {
				return slices.DeleteFunc(log, func(r replication.Record) bool { return r.LSN >= from })
			})
		},
	}
}

// call queues one call; settle sees that it succeeds.
func (w *world) call(name string, do func(done func(error))) {
	w.steps = append(w.steps, name)
	if w.j != nil {
		c := make(chan error, 1)
		w.wait = append(w.wait, c)
		do(func(err error) { c <- err })
	}
}

func (w *world) settle() error {
	for i, c := range w.wait {
		if err := <-c; err != nil {
			return fmt.Errorf("%s: %w", w.steps[len(w.steps)-len(w.wait)+i], err)
		}
	}
	w.wait = nil
	if w.ids == 1 {
		return nil // the journal is not this world's alone
	}
	before := w.kept
	var err error
	if w.kept, err = journal.CheckSpace(w.j); w.kept.Front > before.Front {
		w.events["front"]++
	}
	if w.kept.Stale < before.Stale {
		w.events["swept"]++
	}
	w.events["moved"] = max(w.events["moved"], int(w.j.Stats().Moved))
	return err
}

func (w *world) step() {
	id := w.first + shard.CopyID(w.dice.IntN(w.ids))
	c := w.copies[id]
	if c == nil {
		w.copies[id] = newTwin()
		w.call(fmt.Sprint("create ", id), func(done func(error)) { w.j.Create(shardOf(id), id, done) })
		return
	}
	switch n := w.dice.IntN(100); {
	case id == 4 && n < 90: // a copy that is hardly ever written to
	case n < 55:
		w.write(id, c)
	case n < 68:
		w.keep(id, c)
	case n < 80:
		w.start(id, c)
	case n < 92:
		w.stage(id, c)
	case n < 97:
		w.install(id, c)
	case n < 98:
		delete(w.copies, id)
		w.events["remove"]++
		w.call(fmt.Sprint("remove ", id), func(done func(error)) { w.j.Remove(id, done) })
	}
}

func (w *world) write(id shard.CopyID, c *twin) {
	var m replication.Write
	if w.dice.IntN(5) == 0 {
		c.promised++
		m.Promise = c.promised
	}
	last := c.last()
	if keep := max(c.confirmed, c.base.LSN); w.dice.IntN(4) == 0 && last.LSN > keep {
		m.Truncate = keep + 1 + shard.LSN(w.dice.Uint64N(uint64(last.LSN-keep)))
		c.log = c.log[:m.Truncate-c.base.LSN-1]
		last = c.last()
		w.events["truncate"]++
	}
	epoch := max(c.promised, last.Epoch, 1)
	if n := shard.LSN(w.dice.IntN(6)); n > 0 {
		m.Records = records(id, epoch, last.LSN+1, last.LSN+n, w.dice.IntN(3000))
		if w.dice.IntN(40) == 0 {
			m.Records = append(m.Records, record(id, epoch, last.LSN+n+1, 20_000))
		}
		c.log = append(c.log, m.Records...)
		w.events["write"]++
	}
	if w.dice.IntN(2) == 0 && (len(m.Records) > 0 || m.Truncate+shard.LSN(m.Promise) > 0) {
		c.confirmed += shard.LSN(w.dice.Uint64N(uint64(c.last().LSN - max(c.confirmed, c.base.LSN) + 1)))
		m.Confirmed = c.confirmed
	}
	what := fmt.Sprintf("write %d: promise %d, truncate %d, %d records to %s, confirmed %d", id, m.Promise, m.Truncate, len(m.Records), c.last(), m.Confirmed)
	w.call(what, func(done func(error)) { w.j.Write(id, &m, done) })
}

// apartRecord makes a record to be kept apart; its content follows from its key and a version.
func apartRecord(k replication.Key, version uint64, size int) replication.Record {
	return replication.Record{
		Kind: k.Kind, Entity: k.Entity, Request: shard.RequestID{Session: k.Session}, Seq: shard.Seq(version), Floor: version,
		Body: fmt.Appendf(make([]byte, 0, size+40), "%v/%d/%s", k, version, make([]byte, size)),
	}
}

func (w *world) key(n int) replication.Key {
	if n%3 == 0 {
		return replication.Key{Kind: replication.KindRequests, Session: shard.SessionID(n + 1)}
	}
	return replication.Key{Kind: replication.KindSnapshot, Entity: shard.EntityID(fmt.Sprintf("entity-%02d", n))}
}

func (w *world) keep(id shard.CopyID, c *twin) {
	var kept []replication.Record
	var drops []replication.Key
	for range w.dice.IntN(8) {
		r := apartRecord(w.key(w.dice.IntN(40)), w.dice.Uint64(), w.dice.IntN(900))
		kept = append(kept, r)
		c.apart[r.Key()] = r
		w.events["keep"]++
	}
	for range w.dice.IntN(3) {
		k := w.key(w.dice.IntN(40))
		drops = append(drops, k)
		delete(c.apart, k)
		w.events["drop"]++
	}
	w.call(fmt.Sprintf("keep %d: %d, drop %d", id, len(kept), len(drops)), func(done func(error)) { w.j.Keep(id, kept, drops, done) })
}

// start needs what is before to be durable, as a host knows it is.
func (w *world) start(id shard.CopyID, c *twin) {
	for _, c := range w.wait { // refusals are for settle to report
		err := <-c
		c <- err
	}
	last := c.last().LSN
	base := c.base.LSN + shard.LSN(w.dice.Uint64N(uint64(last-c.base.LSN+1)))
	if w.dice.IntN(3) == 0 {
		base = last
	}
	to := c.at(base)
	c.log = slices.Clone(c.log[base-c.base.LSN:])
	c.base, c.confirmed = to, max(c.confirmed, base)
	if c.staging.Base.LSN <= base {
		c.staging, c.staged = journal.Staging{}, nil
	}
	w.events["start"]++
	w.call(fmt.Sprintf("start %d after %s", id, to), func(done func(error)) { w.j.Start(id, base, done) })
}

func (w *world) stage(id shard.CopyID, c *twin) {
	if c.staged == nil || c.staging.Base.LSN <= c.confirmed || w.dice.IntN(6) == 0 {
		base := shard.Position{Epoch: max(c.promised, c.last().Epoch, 1), LSN: c.confirmed + 1 + shard.LSN(w.dice.IntN(20))}
		c.staging, c.staged = journal.Staging{Base: base, Source: shard.CopyID(w.dice.IntN(9))}, map[replication.Key]replication.Record{}
	}
	before := c.staging
	var chunk []replication.Record
	for range w.dice.IntN(6) {
		k := replication.Key{Kind: replication.KindSnapshot, Entity: c.staging.Last.Entity + "a"}
		if c.staging.Last.Kind == replication.KindRequests || w.dice.IntN(30) == 0 {
			k = replication.Key{Kind: replication.KindRequests, Session: c.staging.Last.Session + 1}
		}
		r := apartRecord(k, w.dice.Uint64(), w.dice.IntN(2000))
		chunk = append(chunk, r)
		c.staged[k], c.staging.Last = r, k
	}
	w.events["stage"]++
	w.call(fmt.Sprintf("stage %d: %+v and %d more", id, before, len(chunk)), func(done func(error)) { w.j.Stage(id, before, chunk, done) })
}

func (w *world) install(id shard.CopyID, c *twin) {
	if c.staged == nil || c.staging.Base.LSN <= c.confirmed {
		return
	}
	m := replication.Write{Install: c.staging.Base}
	if n := shard.LSN(w.dice.IntN(4)); n > 0 {
		m.Records = records(id, max(c.promised, m.Install.Epoch), m.Install.LSN+1, m.Install.LSN+n, 500)
	}
	c.base, c.confirmed, c.log, c.apart = m.Install, m.Install.LSN, m.Records, c.staged
	c.staging, c.staged = journal.Staging{}, nil
	w.events["install"]++
	w.call(fmt.Sprintf("install %d: %s and %d more", id, m.Install, len(m.Records)), func(done func(error)) { w.j.Write(id, &m, done) })
}

// differs reads everything back.
func (w *world) differs(j *journal.Journal) error {
	if w.j != nil {
		if err := w.settle(); err != nil {
			return err
		}
	}
	states := map[shard.CopyID]journal.CopyState{}
	for _, s := range j.Copies() {
		states[s.State.Copy] = s
	}
	for i := range w.ids {
		id := w.first + shard.CopyID(i)
		c, s := w.copies[id], states[id]
		if (c == nil) != (s.State.Copy == 0) {
			return fmt.Errorf("copy %d should be %v and is %+v", id, c, s)
		}
		if c == nil {
			continue
		}
		if err := c.differs(j, s); err != nil {
			return fmt.Errorf("copy %d: %w", id, err)
		}
	}
	return nil
}

func (c *twin) differs(j *journal.Journal, got journal.CopyState) error {
	s := got.State
	switch {
	case got.Damaged != nil:
		return got.Damaged
	case s.Promised != c.promised || s.Base != c.base || s.Last != c.last() || s.Confirmed > c.confirmed:
		return fmt.Errorf("it is %+v, want promised %d, base %s, last %s, confirmed %d", s, c.promised, c.base, c.last(), c.confirmed)
	}
	if s.Promised >= s.Last.Epoch { // the model's epochs are not the protocol's
		if err := s.Check(); err != nil {
			return err
		}
	}
	var log []replication.Record
	err := j.Scan(s.Copy, func(r *replication.Record) error {
		log = append(log, *r)
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.EqualFunc(log, c.log, equal) {
		return fmt.Errorf("it has %d records, want %d", len(log), len(c.log))
	}
	if staged, ok := j.Staged(s.Copy); staged != c.staging && (ok || c.staging.Base.LSN > 0) {
		return fmt.Errorf("%+v is staged, want %+v", staged, c.staging)
	}
	return c.apartDiffers(j, s.Copy)
}

// equal compares what a record says; the encoding that one keeps and the other does not is nobody's business.
func equal(a, b replication.Record) bool {
	return a.Position == b.Position && a.Kind == b.Kind && a.Entity == b.Entity && a.Seq == b.Seq && a.Request == b.Request &&
		a.Floor == b.Floor && bytes.Equal(a.Body, b.Body)
}

func (c *twin) apartDiffers(j *journal.Journal, id shard.CopyID) error {
	keys := slices.SortedFunc(maps.Keys(c.apart), replication.Key.Compare)
	var all []replication.Record
	after := replication.Key{}
	for more := true; more; {
		var page []replication.Record
		var err error
		if page, more, err = j.Apart(id, after, 2000); err != nil {
			return err
		}
		if all = append(all, page...); len(all) > 0 {
			after = all[len(all)-1].Key()
		}
	}
	if len(all) != len(keys) {
		return fmt.Errorf("it keeps %d records apart, want %d", len(all), len(keys))
	}
	for i, k := range keys {
		if !equal(all[i], c.apart[k]) {
			return fmt.Errorf("it keeps %+v apart, want %+v", all[i].Key(), k)
		}
		if k.Kind != replication.KindSnapshot {
			continue
		}
		if r, ok, err := j.Entity(id, k.Entity); !ok || !equal(r, all[i]) {
			return fmt.Errorf("entity %s is %v, %v, %w", k.Entity, r.Key(), ok, err)
		}
	}
	if r, ok, err := j.Entity(id, "nobody"); ok || err != nil {
		return fmt.Errorf("an entity that was never kept is %v, %w", r.Key(), err)
	}
	return nil
}
