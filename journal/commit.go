package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"muster/shard"
)

type opKind uint8

const (
	opWrite opKind = iota + 1
	opCreate
	opRemove
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
	places   []place // of its records, filled by the commit
	done     func(error)
	err      error // it was refused when it was queued: nothing to write, only to answer
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

// gather yields for as long as that makes the queue grow, at most maxYields times. Whoever the last answers have woken gets
// to queue what he has for this commit: a message goes through several goroutines before it gets here. It is not a delay:
// whoever else can run does, and when nobody can, the first yield returns at once.
func (j *Journal) gather() {
	const maxYields = 8
	for before, n := -1, 0; n < maxYields; n++ {
		runtime.Gosched()
		j.mu.Lock()
		now := len(j.mu.queue)
		j.mu.Unlock()
		if now == before {
			return
		}
		before = now
	}
}

func (j *Journal) cut() []*op {
	n, size := 0, 0
	for n < len(j.mu.queue) && n < MaxCommitWrites {
		size += len(j.mu.queue[n].entries)
		if size > MaxCommitBytes && n > 0 {
			size -= len(j.mu.queue[n].entries)
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
	writes := 0
	for _, o := range batch {
		if o.err == nil {
			writes++
			o.chunk(c)
		}
	}
	if writes == 0 {
		return nil
	}
	var pages int64
	err := j.disk.update(func(tx *bolt.Tx) error {
		if err := j.store(tx, c, batch); err != nil {
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
	if o.records > 0 {
		o.places = make([]place, 0, o.records)
	}
	for b := o.entries; len(b) > 0; {
		n := headerSize + int(binary.BigEndian.Uint32(b[8:]))
		p := c.add(b[:n])
		if kind(b[12]) == kindRecord {
			o.places = append(o.places, p)
		}
		b = b[n:]
	}
}

func (j *Journal) store(tx *bolt.Tx, c *chunks, batch []*op) error {
	log, copies := tx.Bucket(logBucket), tx.Bucket(copiesBucket)
	log.FillPercent = 0.95
	var last [8]byte // bbolt copies keys, not values
	err := c.each(func(key uint64, value []byte) error {
		binary.BigEndian.PutUint64(last[:], key)
		return log.Put(last[:], value)
	})
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if err := log.SetSequence(c.first + uint64(len(c.cuts)) - 1); err != nil {
		return fmt.Errorf("set the last key: %w", err)
	}
	for _, o := range batch {
		if err := o.storeCopy(copies); err != nil {
			return fmt.Errorf("copy %d: %w", o.copy, err)
		}
	}
	return nil
}

// storeCopy changes the copy's own value where the op calls for it.
func (o *op) storeCopy(copies *bolt.Bucket) error {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(o.copy))
	switch {
	case o.err != nil:
		return nil
	case o.kind == opCreate && !o.log.created:
		return copies.Put(key[:], encodeCopy(o.copy, o.shard, 0))
	case o.kind == opRemove:
		return copies.Delete(key[:])
	case o.promise > 0:
		return copies.Put(key[:], encodeCopy(o.copy, o.log.shard, o.head.promised))
	}
	return nil
}

// publish makes a commit visible: the index first, then the counters.
func (j *Journal) publish(batch []*op, s Stats) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range batch {
		if o.err == nil {
			j.apply(o)
			s.Writes++
			s.Records += uint64(o.records)
		}
	}
	s.Commits, s.Syncs = 1, 2
	j.mu.stats.add(s)
	j.mu.stats.Copies = len(j.mu.copies)
}

func (j *Journal) apply(o *op) {
	switch o.kind {
	case opCreate:
		o.log.created = true
	case opRemove:
		if o.log != nil && j.mu.copies[o.copy] == o.log {
			delete(j.mu.copies, o.copy)
		}
	case opWrite:
		if o.truncate > 0 {
			o.log.places.truncate(o.truncate)
		}
		o.log.places.append(o.places...)
		o.log.durable = o.head
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
