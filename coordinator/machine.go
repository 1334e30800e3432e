package coordinator

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"muster/fsm"
	"muster/shard"
)

const (
	deltasKept   = 10_000  // for watchers that fell behind; older ones get the whole map
	mostRestores = 3       // of the same snapshot without an entry between; see repair
	itemsKept    = 100_000 // placements, members and sessions in those deltas together, so that they stay tens of MB
)

// A machine is the replicated state as Raft sees it: it hands entries to the pure state machine and keeps what the shell
// needs around it.
//
// It counts applied entries itself, because Raft's own count says what was queued, not what was done. The state is an
// immutable value behind one pointer, so readers and snapshots never wait for an entry being applied.
//
// Raft's goroutine is the only writer. An entry that a newer program wrote stops the machine for good: from then on it
// applies nothing and makes no snapshot, and the coordinator, told by failed, stops the node.
type machine struct {
	logger hclog.Logger
	clock  clock
	store  *store
	failed chan struct{}
	wait   *waitingRoom
	news   bell // rings at every change
	whole  struct {
		sync.Mutex
		of *shard.View // the map that was asked for last
		encodings
	}
	mu struct {
		sync.Mutex
		err      error
		state    *fsm.State
		index    shard.Index    // the newest entry applied, Raft's configurations included
		floor    shard.Index    // every delta after it is in deltas
		deltas   []*loggedDelta // rising index
		items    int            // in deltas
		renewed  map[shard.SessionID]renewal
		voters   configuration // the newest applied
		restored struct {      // the same snapshot, again and again
			index shard.Index
			times int
		}
	}
}

// renewal is when this node stored the newest renewal of a session, on the clock of this life.
type renewal struct {
	at     time.Duration
	number uint64
}

// loggedDelta is a delta for watchers. Its encodings are made once, by the first that needs one.
type loggedDelta struct {
	delta *shard.Delta
	items int
	mu    sync.Mutex
	made  encodings
}

// encoded is the delta for a watcher that asks for parts, or for one that does not.
func (l *loggedDelta) encoded(parts bool) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made.of(parts, func() *shard.Delta { return l.delta })
}

// encodings are the forms of one delta. Watchers of one build need one of them.
type encodings struct{ few, parts [][]byte }

func (e *encodings) of(parts bool, delta func() *shard.Delta) [][]byte {
	switch {
	case parts && e.parts == nil:
		e.parts = fsm.EncodeParts(delta())
	case !parts && e.few == nil:
		e.few = fsm.EncodeDelta(delta())
	}
	if parts {
		return e.parts
	}
	return e.few
}

// applied is Raft's answer to a proposal.
type applied struct {
	verdicts []fsm.Verdict
	fault    *shard.Error
}

func newMachine(s *store, c clock, logger hclog.Logger) *machine {
	m := &machine{logger: logger, clock: c, store: s, failed: make(chan struct{}), wait: newWaitingRoom()}
	m.mu.state = fsm.New()
	m.mu.renewed = map[shard.SessionID]renewal{}
	return m
}

// Apply is raft.FSM's; Raft calls ApplyBatch instead.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch is raft.BatchingFSM's. Being one, it sees configuration entries too, so its index is not left behind by them.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			answers[i] = m.apply(l)
		} else {
			m.reconfigured(l)
		}
	}
	return answers
}

func (m *machine) apply(l *raft.Log) *applied {
	state, index, err := m.look()
	if err != nil {
		return &applied{fault: shard.Unknownf(shard.CodeClosed, "%v", err)}
	}
	if shard.Index(l.Index) <= index {
		panic(fmt.Sprintf("raft hands over entry %d after %d", l.Index, index)) // never twice: a counter would move
	}
	next, result, err := m.run(state, l)
	if err != nil {
		m.stop(err)
		return &applied{fault: shard.Unknownf(shard.CodeClosed, "%v", err)}
	}
	if result.Newer {
		m.stop(fmt.Errorf("entry %d was written by a newer program: this node must be upgraded to take part", l.Index))
		return &applied{fault: shard.Unknownf(shard.CodeClosed, "the entry needs a newer program")}
	}
	at := m.clock.at(m.store.storedAt(l.Index, time.Now()))
	m.install(next, &result, renewals(l.Data, &result), at)
	m.news.ring()
	m.wait.settle(result.Releases, result.Delta.Ended)
	return &applied{verdicts: result.Verdicts, fault: result.Fault}
}

// run applies an entry. A broken invariant stops this node, not the program that embeds it.
func (m *machine) run(state *fsm.State, l *raft.Log) (next *fsm.State, result fsm.Result, err error) {
	defer func() {
		if defect := recover(); defect != nil {
			err = fmt.Errorf("entry %d broke an invariant of the replicated state: %v", l.Index, defect)
			m.logger.Error("a defect in the replicated state", "entry", l.Index, "defect", defect, "stack", string(debug.Stack()))
		}
	}()
	next, result = fsm.Apply(state, shard.Index(l.Index), l.Data)
	return next, result, nil
}

// renewals returns what the entry renewed. The leader's renewals are entries of their own and change nothing in the map, so
// only such entries are read again; one missed would merely make the leader ask for an expiry that is refused.
func renewals(entry []byte, r *fsm.Result) []fsm.Renewal {
	if r.Fault != nil || !r.Delta.Empty() {
		return nil
	}
	commands, err := fsm.Decode(entry)
	if err != nil {
		return nil
	}
	var all []fsm.Renewal
	for _, c := range commands {
		if renew, ok := c.(*fsm.Renew); ok {
			all = append(all, renew.Items...)
		}
	}
	return all
}

// install makes the state of an entry the present one.
func (m *machine) install(next *fsm.State, r *fsm.Result, renewed []fsm.Renewal, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.state, m.mu.index = next, r.Index
	for _, s := range r.Delta.Sessions {
		m.mu.renewed[s.ID] = renewal{at: at}
	}
	for _, v := range renewed {
		if number, live := next.Renewal(v.Session); live && number == v.Number {
			m.mu.renewed[v.Session] = renewal{at, v.Number}
		}
	}
	for _, s := range r.Delta.Ended {
		delete(m.mu.renewed, s)
	}
	if !r.Delta.Empty() {
		d := r.Delta
		l := &loggedDelta{delta: &d, items: len(d.Placements) + len(d.Members) + len(d.Sessions) + len(d.Ended) + 1}
		m.mu.deltas = append(m.mu.deltas, l)
		m.mu.items += l.items
	}
	for len(m.mu.deltas) > deltasKept || m.mu.items > itemsKept && len(m.mu.deltas) > 1 {
		m.mu.floor = m.mu.deltas[0].delta.Index
		m.mu.items -= m.mu.deltas[0].items
		m.mu.deltas[0] = nil
		m.mu.deltas = m.mu.deltas[1:]
	}
}

// advance notes an entry that changes nothing.
func (m *machine) advance(index shard.Index) {
	m.mu.Lock()
	m.mu.index = max(m.mu.index, index)
	m.mu.Unlock()
	m.news.ring()
}

// reconfigured notes a configuration of Raft. Raft itself does not tell which entry its own is from.
func (m *machine) reconfigured(l *raft.Log) {
	if l.Type == raft.LogConfiguration {
		next := configuration{l.Index, raft.DecodeConfiguration(l.Data).Servers}
		m.mu.Lock()
		m.mu.voters = next
		m.mu.Unlock()
	}
	m.advance(shard.Index(l.Index))
}

func (m *machine) stop(err error) {
	m.mu.Lock()
	first := m.mu.err == nil
	if first {
		m.mu.err = err
	}
	m.mu.Unlock()
	if first {
		m.news.ring()
		m.logger.Error("the replicated state cannot go on", "error", err)
		close(m.failed)
	}
}

// look returns the present state and the newest entry it holds.
func (m *machine) look() (*fsm.State, shard.Index, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.state, m.mu.index, m.mu.err
}

func (m *machine) state() *fsm.State {
	s, _, _ := m.look()
	return s
}

// reach waits until the entry is applied, or done closes.
func (m *machine) reach(done <-chan struct{}, index shard.Index) (*fsm.State, error) {
	for {
		changed := m.news.listen()
		state, now, err := m.look()
		switch {
		case err != nil:
			return nil, shard.Errorf(shard.CodeClosed, "%v", err)
		case now >= index:
			return state, nil
		}
		select {
		case <-changed:
		case <-done:
			return nil, shard.Errorf(shard.CodeBehind, "entry %d is not applied yet, only %d", index, now)
		}
	}
}

// lastRenewal is when this node stored the session's newest renewal; known is false when it never saw one.
func (m *machine) lastRenewal(s shard.SessionID) (r renewal, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, known = m.mu.renewed[s]
	return r, known
}

// update is what a watcher that has from needs: the deltas after it, or the whole map, or nothing because it has more.
type update struct {
	index  shard.Index
	deltas []*loggedDelta
	whole  *shard.View
	view   *shard.View // at index
	behind bool
}

func (m *machine) since(from shard.Index) update {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := update{index: m.mu.index, view: m.mu.state.View}
	switch {
	case from > m.mu.index:
		n.behind = true
	case from == 0 || from < m.mu.floor:
		n.whole = m.mu.state.View
	default:
		i, _ := slices.BinarySearchFunc(m.mu.deltas, from+1, func(l *loggedDelta, want shard.Index) int {
			return int(int64(l.delta.Index) - int64(want))
		})
		n.deltas = slices.Clone(m.mu.deltas[i:])
	}
	return n
}

// Snapshot is raft.FSM's: it takes the pointer, the work is done in Persist.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	state, _, err := m.look()
	if err != nil {
		return nil, err
	}
	return stateSnapshot{state}, nil
}

type stateSnapshot struct{ state *fsm.State }

// Persist is raft.FSMSnapshot's.
func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s.state.Snapshot()); err != nil {
		return fmt.Errorf("snapshot: %w (cancel: %v)", err, sink.Cancel())
	}
	return sink.Close()
}

// Release is raft.FSMSnapshot's.
func (stateSnapshot) Release() {}

// Restore is raft.FSM's. The new state is built and verified before the old one is let go. Whatever renewals it holds may be
// as young as this moment, so this moment counts.
func (m *machine) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err == nil {
		err = r.Close()
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	state, err := fsm.Restore(b)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	m.mu.Lock()
	if state.Index() == m.mu.restored.index && m.mu.index == state.Index() {
		m.mu.restored.times++
	} else {
		m.mu.restored.index, m.mu.restored.times = state.Index(), 1
	}
	looping := m.mu.restored.times >= mostRestores
	m.mu.state = state
	m.mu.index = state.Index()
	m.mu.floor, m.mu.deltas, m.mu.items = m.mu.index, nil, 0
	clear(m.mu.renewed)
	for id := range state.View.Sessions {
		number, _ := state.Renewal(id)
		m.mu.renewed[id] = renewal{m.clock.now(), number}
	}
	m.mu.Unlock()
	m.news.ring()
	m.wait.disturb()
	if looping {
		m.stop(fmt.Errorf("snapshot %d was installed %d times in a row without progress: the log holds entries that no majority "+
			"had; they are dropped when the node is started again", state.Index(), mostRestores))
	}
	return nil
}
