package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"muster/shard"
)

type opKind uint8

const (
	opWrite opKind = iota + 1
	opCreate
	opRemove
	opStart
	opKeep
	opStage
	opMove
)

// op is one queued call.
type op struct {
	kind     opKind
	copy     shard.CopyID
	shard    shard.ID
	log      *copyLog
	promise  shard.Epoch
	truncate shard.LSN
	records  int
	entries  []byte
	head     head    // of the copy when this op is durable
	change   *change // what is not for the log, nil for most
	from     place   // where its entries begin, filled by the commit
	places   []place // of its records, filled by the commit, valid until the next
	done     func(error)
	err      error // it was refused when it was queued: nothing to write, only to answer
}

// writes are the ops of answered Writes, with the memory of their entries: one that has more than pooledEntries bytes is for the
// garbage collector.
var writes = sync.Pool{New: func() any { return new(op) }}

const pooledEntries = 256 << 10

// size is how many bytes of its caller the op carries.
func (o *op) size() int {
	if o.change == nil {
		return len(o.entries)
	}
	return len(o.entries) + o.change.apart.size
}

// change is the rare part of an op: what it does to the start of the log and to what is apart.
type change struct {
	apart  apart
	base   shard.Position // to start at, to stage for, to install
	source shard.CopyID
	over   bool // staging starts over
}

// run commits what is queued until the journal is closed and the queue empty.
func (j *Journal) run() {
	defer j.exit()
	debug.SetPanicOnFault(true)
	var c chunks
	for {
		batch := j.take()
		if batch == nil {
			return
		}
		err := j.Err()
		if err == nil {
			j.watch.begin()
			err = j.commit(&c, batch)
			j.watch.end()
			if err != nil {
				err = j.stop(err)
			} else {
				err = j.Err() // it ended after all, when it had been given up
			}
		} else {
			err = ErrStopped
		}
		j.answer(batch, err)
	}
}

// exit says that run has ended, and closes the file when Close did not wait for that.
func (j *Journal) exit() {
	j.mu.Lock()
	close(j.exited)
	left := j.mu.left
	j.mu.Unlock()
	if !left {
		return
	}
	if err := j.disk.close(); err != nil {
		j.opt.Logger.Error("cannot close the journal whose commit hung", "error", err)
	}
}

// take waits for work and returns the oldest of it, as much as one commit may hold; nil when there will be no more.
func (j *Journal) take() []*op {
	for {
		j.gather()
		j.mu.Lock()
		if batch := j.cut(); batch != nil {
			j.mu.Unlock()
			return batch
		}
		closed := j.mu.closed
		j.mu.Unlock()
		if closed {
			return nil
		}
		<-j.wake
	}
}

// gather yields until that has not made the queue grow for a few times, or for maxYields times. Whoever the last answers have woken
// gets to queue what he has for this commit: a message goes through several goroutines before it gets here. It is not a delay:
// whoever else can run does, and when nobody can, a yield returns at once.
func (j *Journal) gather() {
	const maxYields, quiet = 8, 3
	for queued, n, still := -1, 0, 0; n < maxYields && still < quiet; n++ {
		runtime.Gosched()
		j.mu.Lock()
		now := len(j.mu.queue)
		j.mu.Unlock()
		still++
		if now > queued {
			queued, still = now, 0
		}
	}
}

func (j *Journal) cut() []*op {
	n, size := 0, 0
	for n < len(j.mu.queue) && n < MaxCommitWrites {
		size += j.mu.queue[n].size()
		if size > MaxCommitBytes && n > 0 {
			size -= j.mu.queue[n].size()
			break
		}
		n++
	}
	if n == 0 {
		return nil
	}
	batch := j.mu.queue[:n:n]
	j.mu.queue = append([]*op(nil), j.mu.queue[n:]...)
	j.mu.queued -= size
	return batch
}

// commit makes the batch durable in one transaction and then visible to readers.
func (j *Journal) commit(c *chunks, batch []*op) error {
	start := time.Now()
	c.reset(j.next)
	if !slices.ContainsFunc(batch, func(o *op) bool { return o.err == nil }) {
		return nil
	}
	moves, late := j.judge(batch)
	if len(moves) > 0 {
		batch = append(moves, batch...)
	}
	for _, o := range batch {
		if o.err == nil {
			o.chunk(c)
		}
	}
	var pages int64
	err := j.disk.update(func(tx *bolt.Tx) error {
		b := &buckets{log: tx.Bucket(logBucket), copies: tx.Bucket(copiesBucket), apart: tx.Bucket(apartBucket)}
		for _, l := range late {
			if err := l.value.put(b.copies, l.copy); err != nil {
				return fmt.Errorf("copy %d: %w", l.copy, err)
			}
		}
		if err := j.store(b, c, batch); err != nil {
			return err
		}
		tx.OnCommit(func() {
			s := tx.Stats()
			pages = s.GetPageAlloc()
		})
		return nil
	})
	if err != nil {
		return err
	}
	if j.opt.SyncDelay > 0 {
		time.Sleep(j.opt.SyncDelay)
	}
	took := time.Since(start)
	if took > slowCommit {
		j.opt.Logger.Warn("slow commit", "took", took, "bytes", len(c.buf))
	}
	j.next += uint64(len(c.cuts))
	j.publish(batch, Stats{Bytes: uint64(len(c.buf)), DiskBytes: uint64(pages) + pageSize, LongestCommit: took})
	return nil
}

// chunk lays the op's entries into the commit's values and notes where its records stand.
func (o *op) chunk(c *chunks) {
	o.from = c.end()
	first := len(c.places)
	for b := o.entries; len(b) > 0; {
		n := headerSize + int(binary.BigEndian.Uint32(b[8:]))
		p := c.add(b[:n])
		if kind(b[12]) == kindRecord {
			c.places = append(c.places, p)
		}
		b = b[n:]
	}
	o.places = c.places[first:len(c.places):len(c.places)]
}

// buckets are those of one write transaction.
type buckets struct{ log, copies, apart *bolt.Bucket }

func (j *Journal) store(b *buckets, c *chunks, batch []*op) error {
	b.log.FillPercent = 0.95
	var last [8]byte // bbolt copies keys, not values
	err := c.each(func(key uint64, value []byte) error {
		binary.BigEndian.PutUint64(last[:], key)
		return b.log.Put(last[:], value)
	})
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if err := b.log.SetSequence(c.first + uint64(len(c.cuts)) - 1); err != nil {
		return fmt.Errorf("set the last key: %w", err)
	}
	for _, o := range batch {
		if o.err != nil {
			continue
		}
		if err := j.storeCopy(b, o); err != nil {
			return fmt.Errorf("copy %d: %w", o.copy, err)
		}
	}
	return j.tidy(b, len(c.cuts))
}

// storeCopy changes the copy's own value, and what it keeps apart, where the op calls for it.
func (j *Journal) storeCopy(b *buckets, o *op) error {
	if o.kind == opRemove {
		return j.removeCopy(b, o)
	}
	v := &o.log.value
	switch {
	case o.kind == opCreate:
		if v.generation != 0 {
			return nil
		}
		*v = copyValue{shard: o.shard, from: o.from, generation: j.space.newGeneration()}
		if err := b.copies.SetSequence(b.copies.Sequence() + 1); err != nil {
			return err
		}
	case o.kind == opMove:
		v.from = o.from
	case o.promise == 0 && o.change == nil:
		return nil
	}
	v.promised = max(v.promised, o.promise)
	if o.change != nil {
		if err := j.storeChange(b, o, v); err != nil {
			return err
		}
	}
	return v.put(b.copies, o.copy)
}

func (j *Journal) storeChange(b *buckets, o *op, v *copyValue) error {
	switch o.kind {
	case opKeep:
		return o.change.apart.store(b.apart, v.generation, &v.apart)
	case opStage:
		return j.stage(b, o.change, v)
	case opStart:
		j.start(o, v)
	case opWrite:
		j.install(o, v)
	}
	return nil
}

// removeCopy forgets a copy. The bucket's sequence is the number of copies: bbolt would not notice that one is missing.
func (j *Journal) removeCopy(b *buckets, o *op) error {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(o.copy))
	if o.log != nil {
		v := &o.log.value
		j.space.drop(v.generation, v.staging.generation)
		v.generation, v.staging = 0, staging{}
	}
	if b.copies.Get(key[:]) == nil {
		return nil
	}
	if err := b.copies.SetSequence(b.copies.Sequence() - 1); err != nil {
		return err
	}
	return b.copies.Delete(key[:])
}

// publish makes a commit visible: the index first, then the counters.
func (j *Journal) publish(batch []*op, s Stats) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range batch {
		if o.err != nil {
			continue
		}
		j.apply(o)
		if o.kind == opMove {
			s.Moved += uint64(o.records)
			continue
		}
		s.Writes++
		s.Records += uint64(o.records)
	}
	s.Commits, s.Syncs = 1, 2
	j.mu.next = j.next
	j.mu.stats.add(s)
	j.mu.stats.Copies = len(j.mu.copies)
}

func (j *Journal) apply(o *op) {
	l := o.log
	switch o.kind {
	case opCreate:
		l.created, l.generation = true, l.value.generation
	case opRemove:
		if l != nil && j.mu.copies[o.copy] == l {
			delete(j.mu.copies, o.copy)
		}
	case opWrite:
		if o.change != nil {
			l.places = index{base: o.change.base.LSN}
			l.generation = l.value.generation
			l.installs--
		}
		if o.truncate > 0 {
			l.places.truncate(o.truncate)
		}
		l.places.append(o.places...)
		l.durable = o.head
	case opStart:
		if o.change != nil {
			l.places.start(o.change.base.LSN)
			l.durable = l.durable.start(o.change.base.LSN)
		}
	case opMove:
		l.places = index{base: l.places.base}
		l.places.append(o.places...)
	}
}

// answer calls every done function in the order of submission.
func (j *Journal) answer(batch []*op, err error) {
	for _, o := range batch {
		if o.err != nil {
			o.done(o.err)
		} else {
			o.done(err)
		}
		if o.kind == opWrite && cap(o.entries) <= pooledEntries {
			*o = op{entries: o.entries[:0]} // the commit has copied them
			writes.Put(o)
		}
	}
}

// stop ends the journal for good and returns what it will say of it. Only the first fault counts, though a commit that hung and
// then fails marks the file all the same.
func (j *Journal) stop(err error) error {
	err = fmt.Errorf("journal %s: commit: %w", j.path, err)
	if !errors.Is(err, ErrHung) && !failedWrite(err) {
		if e := mark(j.path, err); e != nil {
			j.opt.Logger.Error("cannot leave the mark of a failed sync", "error", e)
		}
	}
	j.mu.Lock()
	first := j.mu.err == nil
	if first {
		j.mu.err = err
	}
	j.mu.Unlock()
	if first {
		j.opt.Logger.Error("the journal has stopped for good", "error", err)
		close(j.failed)
	}
	return err
}
