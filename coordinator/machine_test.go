package coordinator_test

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator"
	"muster/fsm"
)

// script drives a machine as Raft does.
type script struct {
	t     *testing.T
	store coordinator.Store
	coordinator.Machine
	index uint64
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{t: t, store: watched(t, &disk{})}
	t.Cleanup(func() { s.store.Shut(time.Second) })
	s.Machine = coordinator.NewMachine(s.store)
	s.run(&fsm.Genesis{Group: "g", Voters: []fsm.Founder{{Node: "n1", Addr: "a:1", Directory: "d1"}}})
	return s
}

// run stores and applies one entry.
func (s *script) run(commands ...fsm.Command) {
	s.t.Helper()
	entry, err := fsm.Encode(commands...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.entry(entry)
}

func (s *script) entry(entry []byte) {
	s.t.Helper()
	s.index++
	l := &raft.Log{Index: s.index, Type: raft.LogCommand, Data: entry}
	if err := s.store.StoreLog(l); err != nil {
		s.t.Fatal(err)
	}
	s.ApplyBatch([]*raft.Log{l})
}

func (s *script) register() {
	s.t.Helper()
	s.run(&fsm.Register{Node: "n1", Directory: "d1", Machine: "m", Addr: "a:1", Nonce: "x", Fenced: true})
}

// A watcher is sent the changes after what it has; with nothing, or too far behind, the whole map; ahead, elsewhere.
func TestMachineKeepsDeltas(t *testing.T) {
	s := newScript(t)
	s.register()
	s.run(&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 1}}}) // 3: changes nothing in the map
	s.run(&fsm.RequireQuorum{Members: 1})                            // 4
	if deltas, whole, behind := s.Since(2); whole || behind || len(deltas) != 1 || deltas[0].Index != 4 {
		t.Errorf("since 2: %v %t %t", deltas, whole, behind)
	}
	if deltas, whole, behind := s.Since(4); whole || behind || len(deltas) != 0 {
		t.Errorf("since 4: %v %t %t", deltas, whole, behind)
	}
	if _, whole, _ := s.Since(0); !whole {
		t.Error("a watcher with nothing is not sent the whole")
	}
	if _, _, behind := s.Since(5); !behind {
		t.Error("a watcher ahead is not sent elsewhere")
	}
	for i := range 10_001 {
		s.run(&fsm.RequireQuorum{Members: 2 + i%2})
	}
	if deltas, whole, _ := s.Since(5); whole || len(deltas) != 10_000 {
		t.Errorf("since 5: %d deltas, whole %t", len(deltas), whole)
	}
	if _, whole, _ := s.Since(4); !whole {
		t.Error("a watcher too far behind is not sent the whole")
	}
}

// Raft's configurations move the index and nothing else.
func TestMachineCountsConfigurations(t *testing.T) {
	s := newScript(t)
	view := s.View()
	voters := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1@d1", Address: "n1:1"}}})
	s.ApplyBatch([]*raft.Log{{Index: 2, Type: raft.LogConfiguration, Data: voters}})
	if s.Index() != 2 || s.View() != view {
		t.Errorf("index %d", s.Index())
	}
}

// A renewal counts from when it was stored, and ends with its session.
func TestMachineNotesRenewals(t *testing.T) {
	s := newScript(t)
	s.register()
	first, number, known := s.Renewed(1)
	if !known || number != 0 {
		t.Errorf("registered: %d %t", number, known)
	}
	s.run(&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 7}, {Session: 9, Number: 1}}})
	second, number, _ := s.Renewed(1)
	if number != 7 || second <= first {
		t.Errorf("renewed with %d at %s after %s", number, second, first)
	}
	s.run(&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 3}}}) // refused: it must not count
	if at, number, _ := s.Renewed(1); number != 7 || at != second {
		t.Errorf("a refused renewal counts: %d at %s", number, at)
	}
	if _, _, known := s.Renewed(9); known {
		t.Error("a session that does not exist is renewed")
	}
	s.run(&fsm.Depart{Session: 1})
	if _, _, known := s.Renewed(1); known {
		t.Error("an ended session is remembered")
	}
}

// A seat that is given up and taken again in one process has renewals from long after that has started: they count from when the seat was taken, and not
// from the start, when the leases would be over by now.
func TestMachineOfASeatTakenAgain(t *testing.T) {
	const ran = time.Hour
	d := &disk{InmemStore: raft.NewInmemStore()}
	var logs []*raft.Log
	for i, c := range []fsm.Command{
		&fsm.Genesis{Group: "g", Voters: []fsm.Founder{{Node: "n1", Addr: "a:1", Directory: "d1"}}},
		&fsm.Register{Node: "n1", Directory: "d1", Machine: "m", Addr: "a:1", Nonce: "x", Fenced: true},
		&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 3}}},
	} {
		entry, err := fsm.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, &raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: entry})
	}
	if err := d.InmemStore.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	s, err := coordinator.WatchStore(d, time.Second, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shut(time.Second)
	m := coordinator.Reopened(s, ran)
	m.ApplyBatch(logs)
	if at, number, known := m.Renewed(1); !known || number != 3 || at < ran-time.Minute {
		t.Errorf("renewal %d counts from %s of a process that has run for %s", number, at, ran)
	}
}

// An entry of a newer program stops the machine for good: it applies nothing more and makes no snapshot.
func TestMachineStopsAtNewerEntry(t *testing.T) {
	s := newScript(t)
	before := s.View()
	s.entry([]byte{fsm.Version + 1, 0x80})
	<-s.Stopped()
	s.run(&fsm.RequireQuorum{Members: 1})
	if s.View() != before {
		t.Error("it went on")
	}
	if _, err := s.Snapshot(); err == nil {
		t.Error("it made a snapshot")
	}
}

// A snapshot restores the same state; a damaged one leaves the old state as it was.
func TestMachineRestores(t *testing.T) {
	s := newScript(t)
	s.register()
	s.run(&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 5}}})
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var sink memorySink
	if err := snapshot.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	other := newScript(t)
	for _, bad := range [][]byte{nil, sink.Bytes()[:sink.Len()-1], bytes.Replace(sink.Bytes(), []byte("n1"), []byte("n2"), 1)} {
		if err := other.Restore(io.NopCloser(bytes.NewReader(bad))); err == nil || other.View().Index != 1 {
			t.Errorf("damaged: %v, state %d", err, other.View().Index)
		}
	}
	if err := other.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
		t.Fatal(err)
	}
	if v := other.View(); v.Index != 3 || !v.Up("n1") || other.Index() != 3 {
		t.Errorf("restored %+v", v)
	}
	if _, number, known := other.Renewed(1); !known || number != 5 {
		t.Errorf("restored renewal %d, %t", number, known)
	}
	if _, whole, _ := other.Since(2); !whole {
		t.Error("deltas from before the restored state are offered")
	}
}

// The same snapshot installed again and again without an entry between stops the node, so that a restart can repair its log.
func TestMachineNoticesRestoresWithoutProgress(t *testing.T) {
	s := newScript(t)
	snapshot, _ := s.Snapshot()
	var sink memorySink
	if err := snapshot.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		select {
		case <-s.Stopped():
			t.Fatalf("stopped after %d", i)
		default:
		}
		if err := s.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
			t.Fatal(err)
		}
	}
	<-s.Stopped()
}

// memorySink keeps a snapshot in memory.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

// A watcher rests after news that is no change, so that renewals cost one event now and then. A change that comes meanwhile does
// not wait for the end of that: a shard that is handed over may be waiting for it.
func TestAChangeEndsTheRestOfAWatcher(t *testing.T) {
	for change, want := range map[fsm.Command]time.Duration{
		&fsm.RequireQuorum{Members: 1}:                            0,
		&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 1}}}: 20 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			s.register()
			rested := make(chan time.Duration, 1)
			go func() { rested <- s.Rest(t.Context(), 2) }()
			synctest.Wait()
			s.run(change)
			if got := <-rested; got != want {
				t.Errorf("%s: rested for %s, want %s", fsm.NameOf(change), got, want)
			}
		})
	}
}
