package coordinator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"muster/shard"
)

const (
	snapshotsKept  = 2
	logCacheSize   = 512
	storedTimes    = 4096 // entries whose moment of storing is remembered
	slowStoreWarn  = 250 * time.Millisecond
	slowStoreFatal = 6 * time.Second // with the lease that follows, others have taken over within 10 s
)

var formedKey = []byte("muster-formed") // holds the group's UUID once this store may vote in it

// backend is what lies under a store: Raft's log, its votes, and a way to close them.
type backend interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// A store is Raft's durable memory on this node, watched.
//
// A leader whose disk hangs stays leader for ever: its heartbeats do not touch the disk. So every call is timed. One that
// takes longer than warnAfter is logged; one longer than fatalAfter, and any failed write, poisons the store for good
// and closes failed, on which the coordinator cuts the Raft streams and stops the node. A poisoned store fails every call, those
// included that complete late: what a stuck or failed write left behind is not known.
//
// A call ages by the looks that the watch takes at it, and not by the clock: a process that was stopped in the middle of a
// write and goes on would blame the disk.
//
// It also remembers when each recent entry was stored, for the leader's judgement of leases.
type store struct {
	backend
	logger     hclog.Logger
	warnAfter  time.Duration
	fatalAfter time.Duration
	failed     chan struct{}
	stop       chan struct{}
	done       chan struct{}
	kept       bell      // entries were stored, or could not be
	opened     time.Time // what is in the log since before was stored before
	mu         struct {
		sync.Mutex
		err     error
		serial  uint64
		running map[uint64]*storeCall
		stored  [storedTimes]storedEntry
		old     uint64 // entries up to here were there when the store was opened, and have not been written since
	}
}

type storeCall struct {
	verb   string
	age    time.Duration // the looks at it, times the time between two
	warned bool
}

type storedEntry struct {
	index uint64
	at    time.Time
}

// openStore opens the store in the directory's raft folder.
func openStore(d *Directory, logger hclog.Logger) (*store, raft.SnapshotStore, error) {
	folder := d.Path("raft")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, fmt.Errorf("raft store: %w", err)
	}
	log, err := openBolt(filepath.Join(folder, "log.bolt"))
	if err != nil {
		return nil, nil, err
	}
	b, err := openBallots(filepath.Join(folder, "votes"), log)
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(folder, snapshotsKept, logger.Named("snapshot"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("raft snapshots %s: %w", folder, err), b.Close())
	}
	s, err := watchStore(b, logger, slowStoreWarn, slowStoreFatal)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return s, snapshots, nil
}

func watchStore(b backend, logger hclog.Logger, warnAfter, fatalAfter time.Duration) (*store, error) {
	last, err := b.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("raft log: %w", err)
	}
	s := &store{
		backend: b, logger: logger, warnAfter: warnAfter, fatalAfter: fatalAfter,
		failed: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}), opened: time.Now(),
	}
	s.mu.running, s.mu.old = map[uint64]*storeCall{}, last
	go s.watch()
	return s, nil
}

func (s *store) watch() {
	defer close(s.done)
	tick := time.NewTicker(s.warnAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.inspect(s.warnAfter / 2)
		}
	}
}

// inspect lets the running calls age by a tick.
func (s *store) inspect(tick time.Duration) {
	var slow []string
	var stuck error
	s.mu.Lock()
	for _, c := range s.mu.running {
		c.age += tick
		if c.age > s.warnAfter && !c.warned {
			c.warned = true
			slow = append(slow, c.verb)
		}
		if c.age > s.fatalAfter {
			stuck = fmt.Errorf("the raft store did not answer a %s for %s: the disk hangs", c.verb, s.fatalAfter)
		}
	}
	s.mu.Unlock()
	for _, verb := range slow {
		s.logger.Warn("the raft store is slow", "call", verb, "longer_than", s.warnAfter)
	}
	if stuck != nil {
		s.poison(stuck)
	}
}

func (s *store) poison(err error) {
	s.mu.Lock()
	first := s.mu.err == nil
	if first {
		s.mu.err = err
	}
	s.mu.Unlock()
	if first {
		s.logger.Error("the raft store is closed for good", "error", err)
		close(s.failed)
	}
}

// err is why the store was poisoned, nil while it is well.
func (s *store) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

func (s *store) enter(verb string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return 0, s.mu.err
	}
	s.mu.serial++
	s.mu.running[s.mu.serial] = &storeCall{verb: verb}
	return s.mu.serial, nil
}

func (s *store) leave(call uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.running, call)
	return s.mu.err
}

func (s *store) timed(verb string, call func() error) error {
	n, err := s.enter(verb)
	if err != nil {
		return err
	}
	err = call()
	if poisoned := s.leave(n); poisoned != nil {
		return poisoned
	}
	return err
}

// write is timed, and a failure is final: whether the bytes are there is not known.
func (s *store) write(verb string, call func() error) error {
	err := s.timed(verb, call)
	if err != nil {
		s.poison(fmt.Errorf("the raft store failed to %s: %w", verb, err))
	}
	return err
}

// StoreLog is raft.LogStore's.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs is raft.LogStore's. It notes the moment first: whatever the entries carry was sent before it.
func (s *store) StoreLogs(logs []*raft.Log) error {
	now := time.Now()
	s.mu.Lock()
	for _, l := range logs {
		s.mu.stored[l.Index%storedTimes] = storedEntry{l.Index, now}
	}
	s.mu.Unlock()
	defer s.kept.ring()
	return s.write("store", func() error { return s.backend.StoreLogs(logs) })
}

// DeleteRange is raft.LogStore's. Entries written anew after a cut were not there when the store was opened.
func (s *store) DeleteRange(first, last uint64) error {
	s.mu.Lock()
	if first <= s.mu.old && last >= s.mu.old {
		s.mu.old = first - 1
	}
	s.mu.Unlock()
	return s.write("delete", func() error { return s.backend.DeleteRange(first, last) })
}

// GetLog is raft.LogStore's.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	return s.timed("read", func() error { return s.backend.GetLog(index, l) })
}

// Set is raft.StableStore's.
func (s *store) Set(key, value []byte) error {
	return s.write("set", func() error { return s.backend.Set(key, value) })
}

// SetUint64 is raft.StableStore's.
func (s *store) SetUint64(key []byte, value uint64) error {
	return s.write("set", func() error { return s.backend.SetUint64(key, value) })
}

// storedAt is when the entry reached this node's log: when the store was opened for one that was there by then, now for one that is no longer
// remembered. Both err on the late side of the entry's sending.
//
// Rejected: the start of the process for what was there. A seat that is given up and taken again in one process has entries from long after that, and
// whoever led next ended sessions by it that had just been renewed.
func (s *store) storedAt(index uint64, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.mu.stored[index%storedTimes]; e.index == index {
		return e.at
	}
	if index <= s.mu.old {
		return s.opened
	}
	return now
}

// settled lowers index to the newest entry at or below it that reaches the state machine: Raft keeps its own no-ops and
// barriers to itself, so waiting for one of those to be applied would never end. It returns 0 when the log no longer has
// the entries, because then a snapshot covers them and the state machine has been there.
func (s *store) settled(index uint64) (uint64, error) {
	for ; index > 0; index-- {
		var l raft.Log
		err := s.GetLog(index, &l)
		switch {
		case errors.Is(err, raft.ErrLogNotFound):
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("raft log entry %d: %w", index, err)
		case slices.Contains([]raft.LogType{raft.LogCommand, raft.LogConfiguration}, l.Type):
			return index, nil
		}
	}
	return 0, nil
}

// formed is the group this store may vote in, "" for none.
func (s *store) formed() (shard.GroupID, error) {
	b, err := s.Get(formedKey)
	if err != nil && err.Error() != "not found" { // raft itself relies on that text: the interface has no error for it
		return "", fmt.Errorf("raft store: %w", err)
	}
	return shard.GroupID(b), nil
}

func (s *store) setFormed(g shard.GroupID) error { return s.Set(formedKey, []byte(g)) }

// close stops the watch and closes the file. A call that hangs in the disk makes the closing hang, so the wait is bounded.
func (s *store) close(most time.Duration) error {
	close(s.stop)
	<-s.done
	closed := make(chan error, 1)
	go func() { closed <- s.backend.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(most):
		return fmt.Errorf("the raft store did not close within %s", most)
	}
}
