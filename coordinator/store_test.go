package coordinator_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator"
)

// disk is a store in memory whose next write takes a while or fails.
type disk struct {
	*raft.InmemStore
	takes time.Duration
	err   error
}

func (d *disk) StoreLogs(logs []*raft.Log) error {
	<-time.After(d.takes) // the disk is slow: that is under test
	if d.err != nil {
		return d.err
	}
	return d.InmemStore.StoreLogs(logs)
}

func (d *disk) Close() error { return nil }

func watched(t *testing.T, d *disk) coordinator.Store {
	t.Helper()
	d.InmemStore = raft.NewInmemStore()
	s, err := coordinator.WatchStore(d, 250*time.Millisecond, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A slow write is only slow.
func TestSlowStoreGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watched(t, &disk{takes: 9 * time.Second})
		if err := s.StoreLog(&raft.Log{Index: 1}); err != nil {
			t.Error(err)
		}
		if last, err := s.LastIndex(); last != 1 || err != nil {
			t.Errorf("last index %d, %v", last, err)
		}
		if err := s.Shut(time.Second); err != nil || s.Err() != nil {
			t.Error(err, s.Err())
		}
	})
}

// A write that hangs poisons the store while it hangs; when it completes after all, it has failed all the same.
func TestHangingStoreIsPoisoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watched(t, &disk{takes: time.Minute})
		began := time.Now()
		result := make(chan error, 1)
		go func() { result <- s.StoreLog(&raft.Log{Index: 1}) }()
		<-s.Failed()
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("noticed after %s", took)
		}
		if err := s.SetUint64([]byte("k"), 1); err == nil {
			t.Error("a poisoned store took a write")
		}
		if err := <-result; err == nil {
			t.Error("the write that hung is taken for good")
		}
		s.Shut(time.Second)
	})
}

// One failed write is the last: what it left behind is not known.
func TestFailedWriteIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{err: errors.New("input/output error")}
		s := watched(t, d)
		if err := s.StoreLog(&raft.Log{Index: 1}); !errors.Is(err, d.err) {
			t.Errorf("the failure became %v", err)
		}
		d.err = nil
		if err := s.StoreLog(&raft.Log{Index: 1}); err == nil {
			t.Error("the store went on after a failed write")
		}
		<-s.Failed()
		s.Shut(time.Second)
	})
}

// The moment an entry was stored is known of those that came since the store was opened; those that were there count as stored by then, however
// long the process has run before, unless they were cut off and written anew; forgotten ones as stored now.
func TestStoredAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{InmemStore: raft.NewInmemStore()}
		for i := range uint64(5) {
			d.InmemStore.StoreLog(&raft.Log{Index: i + 1})
		}
		<-time.After(time.Hour)
		s, err := coordinator.WatchStore(d, time.Second, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Now()
		<-time.After(time.Second)
		if err := s.DeleteRange(5, 5); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		for i := uint64(5); i <= 6; i++ {
			if err := s.StoreLog(&raft.Log{Index: i}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		now := time.Now()
		for index, want := range map[uint64]time.Time{4: opened, 5: at, 6: at, 7: now} {
			if got := s.StoredAt(index, now); !got.Equal(want) {
				t.Errorf("entry %d: %s, want %s", index, got, want)
			}
		}
		s.Shut(time.Second)
	})
}

// Waiting for an entry that Raft keeps to itself would never end, so the one before it counts.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watched(t, &disk{})
		for i, kind := range []raft.LogType{raft.LogConfiguration, raft.LogNoop, raft.LogCommand, raft.LogNoop, raft.LogBarrier} {
			if err := s.StoreLog(&raft.Log{Index: uint64(i + 1), Type: kind}); err != nil {
				t.Fatal(err)
			}
		}
		for index, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 9: 0} {
			if got, err := s.Settled(index); got != want || err != nil {
				t.Errorf("%d settles at %d, want %d (%v)", index, got, want, err)
			}
		}
		s.Shut(time.Second)
	})
}

// A log whose entry at the snapshot's index has another term was never committed from there on, and would make Raft
// install the same snapshot for ever: it goes. Any other log stays.
func TestRepair(t *testing.T) {
	for _, c := range []struct {
		what           string
		first, last    uint64
		term, snapshot uint64
		dropped        bool
	}{
		{"the same term", 1, 9, 2, 2, false},
		{"another term", 1, 9, 2, 3, true},
		{"the log ends before the snapshot", 1, 4, 2, 3, false},
		{"the log begins after the snapshot", 6, 9, 3, 2, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := watched(t, &disk{})
			defer s.Shut(time.Second)
			for i := c.first; i <= c.last; i++ {
				if err := s.StoreLog(&raft.Log{Index: i, Term: c.term}); err != nil {
					t.Fatal(err)
				}
			}
			snapshots := raft.NewInmemSnapshotStore()
			_, trans := raft.NewInmemTransport("")
			sink, err := snapshots.Create(1, 5, c.snapshot, raft.Configuration{}, 1, trans)
			if err != nil {
				t.Fatal(err)
			}
			sink.Close()
			dropped, err := s.Repair(snapshots)
			last, _ := s.LastIndex()
			if dropped != c.dropped || err != nil || (last == 0) != c.dropped {
				t.Errorf("%s: dropped %t, last %d, %v", c.what, dropped, last, err)
			}
		})
	}
}

// Whoever did not answer is asked last; whoever only does not lead just waits its turn. When nobody answers, all are tried.
func TestContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := []string{"a", "b", "c"}
		var k coordinator.Contacts
		pick := func() string { return k.Pick(all) }
		k.Failed("a", true)
		if got := pick(); got != "b" {
			t.Errorf("after a was silent: %s", got)
		}
		k.Failed("b", false)
		if got := pick(); got != "c" {
			t.Errorf("after b did not lead: %s", got)
		}
		k.Failed("c", true)
		if got := pick(); got != "b" {
			t.Errorf("after a and c were silent: %s", got)
		}
		k.Failed("b", true)
		seen := map[string]bool{}
		for range all {
			seen[pick()] = true
			k.Failed(pick(), true)
		}
		if len(seen) != len(all) {
			t.Errorf("when nobody answers only %v are asked", seen)
		}
		<-time.After(3 * time.Second)
		first := pick()
		k.Failed(first, false)
		if got := pick(); got == first {
			t.Errorf("silence is not forgotten: %s again", got)
		}
	})
}
