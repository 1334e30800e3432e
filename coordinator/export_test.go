package coordinator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// PoisonStore makes a voter's Raft store fail for good, as a disk that hangs would.
func PoisonStore(c *Coordinator, err error) { c.voter.Load().store.poison(err) }

// Store is the watched store, for tests of its own.
type Store struct{ *store }

// WatchStore watches a backend.
func WatchStore(b interface {
	raft.LogStore
	raft.StableStore
	Close() error
}, warnAfter, fatalAfter time.Duration) (Store, error) {
	s, err := watchStore(b, hclog.NewNullLogger(), warnAfter, fatalAfter)
	return Store{s}, err
}

// Failed is closed when the store is poisoned.
func (s Store) Failed() <-chan struct{} { return s.failed }

// Err is why.
func (s Store) Err() error { return s.err() }

// StoredAt is when the entry was stored.
func (s Store) StoredAt(index uint64, now time.Time) time.Time {
	return s.storedAt(index, now)
}

// Settled is the newest entry at or below index that reaches the state machine.
func (s Store) Settled(index uint64) (uint64, error) { return s.settled(index) }

// Shut closes the store.
func (s Store) Shut(most time.Duration) error { return s.close(most) }

// Proposing is a group of one that leads, over a store.
type Proposing struct{ v *voter }

// NewProposing returns one. Raft runs until Close.
func NewProposing(s Store) (Proposing, error) {
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = "n1@d1", hclog.NewNullLogger()
	addr, network := raft.NewInmemTransport("")
	snapshots := raft.NewInmemSnapshotStore()
	alone := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: addr}}}
	if err := raft.BootstrapCluster(conf, s.store, s.store, snapshots, network, alone); err != nil {
		return Proposing{}, err
	}
	v := &voter{c: &Coordinator{}, store: s.store, machine: newMachine(s.store, newClock(), hclog.NewNullLogger())}
	v.proposer = newProposer(v)
	r, err := raft.NewRaft(conf, v.machine, s.store, s.store, snapshots, network)
	if err != nil {
		return Proposing{}, err
	}
	v.raft.Store(r)
	<-r.LeaderCh()
	v.proposer.start(r)
	return Proposing{v}, nil
}

// Propose has the command applied and returns the index of its entry.
func (p Proposing) Propose(ctx context.Context, c fsm.Command) (shard.Index, error) {
	_, index, err := p.v.proposer.propose(ctx, c)
	return index, err
}

// Close ends it.
func (p Proposing) Close() error {
	p.v.proposer.close()
	return p.v.raft.Load().Shutdown().Error()
}

// Machine is the replicated state as Raft sees it, for tests of its own.
type Machine struct{ *machine }

// NewMachine returns an empty one over the store.
func NewMachine(s Store) Machine {
	return Machine{newMachine(s.store, newClock(), hclog.NewNullLogger())}
}

// Reopened returns one of a process that has run for so long, as when a seat is taken once more.
func Reopened(s Store, ran time.Duration) Machine {
	return Machine{newMachine(s.store, clock{time.Now().Add(-ran)}, hclog.NewNullLogger())}
}

// Index is the newest entry applied.
func (m Machine) Index() shard.Index {
	_, index, _ := m.look()
	return index
}

// View is the present map.
func (m Machine) View() *shard.View { return m.state().View }

// Since returns what a watcher that has from is sent.
func (m Machine) Since(from shard.Index) (deltas []*shard.Delta, whole, behind bool) {
	u := m.since(from)
	for _, l := range u.deltas {
		deltas = append(deltas, l.delta)
	}
	return deltas, u.whole != nil, u.behind
}

// Renewed is when the session's newest renewal was stored, and its number.
func (m Machine) Renewed(s shard.SessionID) (time.Duration, uint64, bool) {
	r, known := m.lastRenewal(s)
	return r.at, r.number, known
}

// Stopped is closed when the machine met an entry of a newer program.
func (m Machine) Stopped() <-chan struct{} { return m.failed }

// Repair drops the log when it contradicts the newest snapshot.
func (s Store) Repair(snapshots raft.SnapshotStore) (bool, error) { return repair(s.store, snapshots) }

// Compact has Raft on this voter take a snapshot and drop the whole log behind it.
func Compact(c *Coordinator) error {
	r := c.voter.Load().raft.Load()
	conf := r.ReloadableConfig()
	conf.TrailingLogs = 0
	if err := r.ReloadConfig(conf); err != nil {
		return err
	}
	err := answered(c.life.ctx, r.Snapshot(), time.Minute)
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Servers are those of Raft's newest configuration on this voter, a "-" before those without a vote.
func Servers(c *Coordinator) []string {
	v := c.voter.Load()
	if v == nil || v.raft.Load() == nil {
		return nil
	}
	f := v.raft.Load().GetConfiguration()
	var all []string
	for _, s := range f.Configuration().Servers {
		name := string(s.ID)
		if s.Suffrage != raft.Voter {
			name = "-" + name
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Contacts is whom to ask when no leader is known.
type Contacts struct{ contacts }

// Pick returns the address whose turn it is.
func (k *Contacts) Pick(addrs []string) string { return k.pick(addrs) }

// Failed notes that an address was of no use.
func (k *Contacts) Failed(addr string, silent bool) { k.failed(addr, silent) }

// NewReach returns a transport that waits for servers to answer heartbeats.
func NewReach(over interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}, wanted func(raft.ServerID, uint64) bool) raft.Transport {
	return newReach(over, wanted)
}

// OpenBallots opens a file of votes over a store.
func OpenBallots(path string, under interface {
	raft.LogStore
	raft.StableStore
	Close() error
}) (raft.StableStore, error) {
	b, err := openBallots(path, under)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Rest lets a watcher that was sent everything up to index rest, and returns how long it did.
func (m Machine) Rest(ctx context.Context, index shard.Index) time.Duration {
	began := time.Now()
	w := &watcher{v: &voter{machine: m.machine}, from: index, sent: began}
	w.rest(ctx)
	return time.Since(began)
}

// WatchSilence is for how long a source of maps may say nothing.
const WatchSilence = watchSilence

// Announce has OnView called once more.
func Announce(c *Coordinator) { c.follower.announce() }

// Follow watches the node at addr until that watch breaks.
func Follow(ctx context.Context, c *Coordinator, addr string) { c.follower.followRemote(ctx, addr) }

// HoldEncoding has a voter take as long over the encoding of its map as it takes until release.
func HoldEncoding(c *Coordinator) (release func()) {
	m := c.voter.Load().machine
	m.whole.Lock()
	return m.whole.Unlock
}

// HoldVotes has a voter take as long to write down a term or a vote as it takes until release.
func HoldVotes(c *Coordinator) (release func()) {
	b := c.voter.Load().store.backend.(*ballots)
	b.mu.Lock()
	return b.mu.Unlock
}

// LeaveLooks is how many looks a leaving node takes without that another of its shards goes.
const LeaveLooks = leaveLooks

// AwaitMoves waits as Leave does until the node's shards are with others.
func AwaitMoves(ctx context.Context, c *Coordinator, looks <-chan time.Time) error {
	return c.awaitMoves(ctx, c.Session(), looks)
}

// WatchOnce watches whomever the node would watch first, until that watch breaks.
func WatchOnce(ctx context.Context, c *Coordinator) {
	addr, _ := c.follower.source()
	c.follower.followRemote(ctx, addr)
}

// Reads is the newest version of entries that every voter reads, as far as this leader has heard.
func Reads(c *Coordinator) byte { return c.voter.Load().leading.heirs.reads(c.View()) }

// GroupVersion is the version whose rules are in force, as far as this voter has applied.
func GroupVersion(c *Coordinator) byte { return c.voter.Load().machine.state().GroupVersion() }

// Forget makes a leader as it was before a session said what its process knows.
func Forget(c *Coordinator, s shard.SessionID) {
	h := &c.voter.Load().leading.heirs
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.sessions, s)
}

// Applied is the newest entry that this voter's Raft has applied.
func Applied(c *Coordinator) shard.Index { return c.voter.Load().machine.state().Index() }

// Impose gives a voter's state machine another map, of the same entry, as no log of commands would.
func Impose(c *Coordinator, change func(*shard.View) *shard.View) {
	m := c.voter.Load().machine
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.mu.state
	next.View = change(next.View)
	m.mu.state = &next
}

// Arrivals is the number of the newest barrier call of this process.
func Arrivals(c *Coordinator) uint64 { return c.arrivals.numbers.Load() }

// SealWithoutSeat has a leader ask a node for promises while it gives up its seat.
func SealWithoutSeat(ctx context.Context, c *Coordinator, node shard.NodeID) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	v := c.voter.Swap(nil)
	defer c.voter.Store(v)
	_, err := v.leading.seals.ask(ctx, node, nil)
	return err
}

// A Newcomer is the seat of a member that a leader has asked to run Raft, until it has caught up.
type Newcomer struct {
	c *Coordinator
	v *voter
}

// OpenSeat runs Raft on a member, as a leader asks it to.
func OpenSeat(c *Coordinator) (Newcomer, error) {
	v, err := c.openSeat(1)
	return Newcomer{c, v}, err
}

// Asked makes the leader's newest word that old.
func (n Newcomer) Asked(ago time.Duration) {
	n.c.opening.Lock()
	defer n.c.opening.Unlock()
	n.c.opening.asked = time.Now().Add(-ago)
}

// Fill makes it this node's seat, as when it has caught up.
func (n Newcomer) Fill() error { return n.c.fillSeat(n.v) }

// Look gives it up if no leader has asked for too long, and reports whether it is a newcomer's no more.
func (n Newcomer) Look() (over bool, err error) { return n.c.tryNewcomer(n.v) }

// Runs reports whether Raft runs on it.
func (n Newcomer) Runs() bool { return runs(n.v) }

// RaftRuns reports whether Raft runs on a founder, or did not stop.
func RaftRuns(c *Coordinator) bool {
	v := c.voter.Load()
	return v != nil && runs(v)
}

func runs(v *voter) bool {
	r := v.raft.Load()
	return r != nil && r.State() != raft.Shutdown
}

// Said is what a session acts on by itself, as far as this voter has applied.
func Said(c *Coordinator, id shard.SessionID) (fsm.Lengths, bool) {
	return c.voter.Load().machine.state().Lengths(id)
}

// Hear has a member hear from its watch who leads.
func Hear(c *Coordinator, node shard.NodeID, addr string, term uint64) {
	c.follower.hear(&wire.WatchEvent{Leader: string(node), LeaderAddr: addr, Term: term})
}

// Agree has a node agree to a Form as if it led the forming.
func Agree(c *Coordinator, form *wire.FormRequest) error {
	var founders []Founder
	for _, f := range form.Founders {
		founders = append(founders, Founder{shard.NodeID(f.Node), f.Addr, shard.DirectoryID(f.Directory)})
	}
	return c.accept(shard.GroupID(form.Group), founders, form.Edition)
}
