package journal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"muster/replication"
	"muster/shard"
)

// Limits. MaxQueuedBytes is the only one its callers must watch; see Backlog.
const (
	ChunkSize       = 2016     // bytes of a value: two of them fill a page of 4 KiB exactly
	MaxCommitBytes  = 4 << 20  // entries of one commit; a single larger write is committed alone
	MaxCommitWrites = 4096     // writes of one commit
	MaxQueuedBytes  = 64 << 20 // what may wait before callers should stop taking on work
	slowCommit      = 250 * time.Millisecond
)

// What a done function or a call may report beside a fault of the disk.
var (
	ErrClosed    = errors.New("journal: closed")
	ErrStopped   = errors.New("journal: stopped by an earlier fault, nothing was written")
	ErrCompacted = errors.New("journal: the log starts later")
	ErrReadOnly  = errors.New("journal: open for reading only")
	ErrNoCopy    = errors.New("journal: no such copy")
	ErrWrongFile = errors.New("not a journal of this node")
	ErrInUse     = errors.New("in use by another process")
)

// DamagedError says which data cannot be trusted and why. A zero Copy means the whole file.
type DamagedError struct {
	Path string
	Copy shard.CopyID
	Why  string
}

func (e *DamagedError) Error() string {
	if e.Copy == 0 {
		return fmt.Sprintf("journal %s is damaged: %s; the file is left untouched", e.Path, e.Why)
	}
	return fmt.Sprintf("journal %s: copy %d is damaged: %s; the file is left untouched", e.Path, e.Copy, e.Why)
}

// Options of Open. The zero value serves.
type Options struct {
	Logger    hclog.Logger      // nil is silent
	Directory shard.DirectoryID // written into a new file, compared in an old one; "" compares nothing
	ReadOnly  bool              // refuse every write; other readers may share the file
	SyncDelay time.Duration     // added to every commit, to see how the layers above bear a slow disk
	Hung      time.Duration     // a commit that takes longer stops the journal for good; 0: 6 s

	Reader func(shard.CopyID) LogReader // what a copy's log is shown to while Open reads it; nil shows it nobody
}

// CopyState is what the file holds of one copy.
type CopyState struct {
	Shard   shard.ID
	State   replication.State // as far as it could be read when Damaged
	Damaged error             // a *DamagedError when the copy's data cannot be trusted
}

// A Journal is the durable memory of one node.
//
// Its methods may be called from any goroutine; the calls for one copy must come one at a time. One goroutine, started by
// Open and joined by Close, owns the file's write transactions: it takes all that is queued while the previous commit was
// under way, up to MaxCommitBytes, and commits it at once. An idle journal commits a lone write immediately; there is no timer.
// A second one watches it: a commit that hangs in the disk is a fault like any other, though it has no answer yet; its done
// functions and those behind it are called with an error when it ends after all.
//
// Rejected: bbolt's own Batch, which makes a lone caller wait 10 ms.
type Journal struct {
	path   string
	opt    Options
	disk   *disk
	next   uint64 // the next key of the log; owned by run
	wake   chan struct{}
	exited chan struct{} // run has returned
	failed chan struct{} // closed by the first fault
	watch  *watchdog
	space  space // owned by run

	mu struct {
		sync.Mutex
		queue  []*op
		queued int // bytes of entries in queue
		copies map[shard.CopyID]*copyLog
		next   uint64 // the next key of the log, as far as commits are visible
		front  uint64 // keys before are deleted, or about to be
		rotten bool   // a copy is damaged
		err    error
		closed bool
		left   bool // Close has returned without waiting for run, which closes the file then
		stats  Stats
	}
}

// Open opens or creates the journal at path. Its errors: ErrInUse after two seconds in which another process
// held the file, ErrWrongFile for a file of another program or directory, a *DamagedError for one whose structure is broken;
// else what the operating system said. Damage to single copies is not an error: see Copies.
func Open(path string, o Options) (*Journal, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if !o.ReadOnly {
		if err := setAsideMarked(path, o.Logger); err != nil {
			return nil, fmt.Errorf("journal %s: %w", path, err)
		}
	}
	d, err := openDisk(path, o)
	if err != nil {
		return nil, err
	}
	c, err := d.read(path, o)
	if err != nil {
		d.close()
		return nil, err
	}
	o.Reader = nil // what it gathered is not for the journal to keep
	j := &Journal{
		path: path, opt: o, disk: d, next: c.next,
		wake: make(chan struct{}, 1), exited: make(chan struct{}), failed: make(chan struct{}),
		watch: newWatchdog(cmp.Or(o.Hung, hungCommit)),
	}
	j.mu.copies, j.mu.next, j.mu.front, j.space = c.copies, c.next, c.space.front, c.space
	j.mu.stats = Stats{Copies: len(c.copies), Syncs: 1}
	for id, l := range c.copies {
		if l.damaged != nil {
			j.mu.rotten = true
			o.Logger.Error("copy is damaged", "copy", id, "shard", l.shard, "error", l.damaged)
		}
	}
	go j.run()
	go j.watch.run(func(err error) { j.stop(err) })
	return j, nil
}

// Copies returns every copy the file holds, by copy id, in its durable state.
func (j *Journal) Copies() []CopyState {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]CopyState, 0, len(j.mu.copies))
	for id, l := range j.mu.copies {
		if l.created {
			all = append(all, CopyState{Shard: l.shard, State: l.durable.state(id), Damaged: l.damaged})
		}
	}
	slices.SortFunc(all, func(a, b CopyState) int { return cmp.Compare(a.State.Copy, b.State.Copy) })
	return all
}

// Create adds an empty copy. Creating it again for the same shard is a success; for another shard it is an error.
func (j *Journal) Create(id shard.ID, copy shard.CopyID, done func(error)) {
	o := &op{kind: opCreate, copy: copy, shard: id, done: done}
	j.submit(o, func() error {
		l := j.mu.copies[copy]
		switch {
		case copy == 0:
			return fmt.Errorf("journal: create copy 0 of %s", id)
		case l == nil || l.removing:
			l = &copyLog{copy: copy, shard: id}
			j.mu.copies[copy] = l
		case l.shard != id:
			return fmt.Errorf("journal: create copy %d for %s: it holds %s", copy, id, l.shard)
		case l.damaged != nil:
			return l.damaged
		}
		o.log = l
		return nil
	})
}

// Write queues what the protocol wants stored and returns at once; done is called when it is durable, from the
// journal's goroutine, so it must be quick and must not call Close. w may be used again when Write returns.
//
// Each Write is answered exactly once. An error leaves the copy as it was: either the write breaks the log's order (a defect
// of the caller), or the copy is damaged, or the journal has stopped.
func (j *Journal) Write(copy shard.CopyID, w *replication.Write, done func(error)) {
	o := writes.Get().(*op)
	*o = op{
		kind: opWrite, copy: copy, promise: w.Promise, truncate: w.Truncate, records: len(w.Records), done: done,
		entries: encodeWrite(o.entries[:0], copy, w),
	}
	if w.Install.LSN > 0 {
		o.change = &change{base: w.Install}
	}
	j.submit(o, func() error {
		if err := j.usable(o); err != nil {
			return err
		}
		l := o.log
		head, err := l.queued.after(w)
		if err == nil && o.change != nil {
			err = l.admitInstall(o)
		}
		if err != nil {
			return fmt.Errorf("journal: write to copy %d of %s: %w", copy, l.shard, err)
		}
		l.queued, o.head = head, head
		return nil
	})
}

// usable finds the copy an op is for, or says why that cannot be used. It runs under the lock.
func (j *Journal) usable(o *op) error {
	l := j.mu.copies[o.copy]
	switch {
	case l == nil || l.removing:
		return fmt.Errorf("%w: write to copy %d", ErrNoCopy, o.copy)
	case l.damaged != nil:
		return l.damaged
	}
	o.log = l
	return nil
}

// Start cuts a copy's log at its start: from then on it begins with record base+1. What is needed of the records before must be
// kept apart by then, or with the same commit. A log that starts there or later already is left as it is.
//
// It refuses a base that is not durable, which includes any while a snapshot is being installed, and a copy that is not there
// or is damaged. Base must be confirmed: no truncation will go back behind it.
func (j *Journal) Start(copy shard.CopyID, base shard.LSN, done func(error)) {
	o := &op{kind: opStart, copy: copy, done: done}
	j.submit(o, func() error {
		if err := j.usable(o); err != nil {
			return err
		}
		l := o.log
		switch {
		case base <= l.queued.base.LSN:
			return nil
		case base > min(l.durable.last.LSN, l.queued.last.LSN) || l.installs > 0:
			return fmt.Errorf("journal: start the log of copy %d of %s after %d, of which %d is durable",
				copy, l.shard, base, l.durable.last.LSN)
		}
		l.queued = l.queued.start(base)
		if l.staged.Base.LSN <= base {
			l.staged = Staging{}
		}
		o.change = &change{base: l.queued.base}
		return nil
	})
}

// start moves a log's beginning. It runs in the commit: where the log will begin is known, because base is durable.
func (j *Journal) start(o *op, v *copyValue) {
	v.base, v.from = o.change.base, place{key: j.next}
	if l := o.log; v.base.LSN < l.durable.last.LSN {
		v.from = l.places.at(v.base.LSN + 1)
	}
	if v.staging.base.LSN <= v.base.LSN {
		j.space.drop(v.staging.generation)
		v.staging = staging{}
	}
}

// Remove forgets a copy. Removing one that is not there is a success. The bytes of its records stay in the file.
func (j *Journal) Remove(copy shard.CopyID, done func(error)) {
	o := &op{kind: opRemove, copy: copy, done: done}
	j.submit(o, func() error {
		if o.log = j.mu.copies[copy]; o.log != nil {
			o.log.removing = true
		}
		return nil
	})
}

// Backlog is the number of bytes waiting for a commit. Write never refuses, because what the protocol has decided cannot be
// taken back; so whoever takes on new work stops doing so while Backlog is at or above MaxQueuedBytes.
func (j *Journal) Backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.queued
}

// Err returns the fault that stopped the journal for good, nil while it works.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.err
}

// Failed is closed when a fault stops the journal.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Close commits what is queued, joins the journal's goroutines and releases the file. It waits for the disk, but not for a
// commit that hangs: then it returns the fault, and the file stays open and locked until that commit ends. A call
// after Close is answered with ErrClosed on the caller's own goroutine. Closing twice is harmless.
func (j *Journal) Close() error {
	j.mu.Lock()
	first := !j.mu.closed
	j.mu.closed = true
	j.mu.Unlock()
	j.signal()
	select {
	case <-j.exited:
	case <-j.watch.hung:
		if j.leave() {
			return j.Err()
		}
	}
	if !first {
		return nil
	}
	close(j.watch.quit)
	<-j.watch.done
	if err := j.disk.close(); err != nil {
		return fmt.Errorf("journal %s: close: %w", j.path, err)
	}
	return nil
}

// leave reports whether run is still in the disk, and leaves the closing of the file to it.
func (j *Journal) leave() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-j.exited:
		return false
	default:
		j.mu.left = true
		return true
	}
}

// submit queues o after admit has agreed; a refusal is queued too, so that it is answered in its turn. admit runs under
// the lock.
func (j *Journal) submit(o *op, admit func() error) {
	j.mu.Lock()
	if j.mu.closed {
		j.mu.Unlock()
		o.done(ErrClosed)
		return
	}
	switch {
	case j.opt.ReadOnly:
		o.err = ErrReadOnly
	case j.mu.err != nil:
		o.err = ErrStopped
	default:
		o.err = admit()
	}
	if o.err != nil {
		o.entries, o.change = nil, nil
	}
	j.mu.queue = append(j.mu.queue, o)
	j.mu.queued += o.size()
	j.mu.Unlock()
	j.signal()
}

func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// view runs fn in a read transaction; a fault of the mapped file is an error, not the end of the process. After Close it fails
// with ErrClosed, which says nothing about what the file holds.
func (j *Journal) view(fn func(*bolt.Tx) error) error {
	err := j.disk.guard(func() error { return j.disk.db.View(fn) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
