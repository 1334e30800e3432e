package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"muster/shard"
)

// raftInFlight: Raft sends a voter one call at a time. To send the next before the answer gains nothing that could be measured, since a voter stores one
// call after another, and costs batching. And it can get stuck for good: after a voter refused a call, Raft takes no more answers
// but may send once more, which never returns, as the transport waits for somebody to take the answer. That voter gets no entries as
// long as this node leads, though it answers every heartbeat.
const raftInFlight = 1

const (
	raftPool       = 3 // idle streams kept to each voter
	raftIO         = 2 * time.Second
	shutdownRaft   = 5 * time.Second
	closeStore     = 5 * time.Second
	snapshotEvery  = 8192 // entries; renewals alone make about that many in half an hour
	trailingLogs   = 10_240
	snapshotsCheck = 2 * time.Minute
)

// A voter is a node's seat in the Raft group: its store, its copy of the replicated state, and Raft between them.
//
// It is opened before the group is formed, so that its promise to take part is durable first, and started after. Who leads
// is told by leader; what is proposed goes through propose.
type voter struct {
	c         *Coordinator
	log       hclog.Logger
	store     *store
	snapshots raft.SnapshotStore
	machine   *machine
	proposer  *proposer
	raft      atomic.Pointer[raft.Raft] // nil until started
	transport *raft.NetworkTransport
	notify    chan bool     // Raft blocks on it, so it is drained until after Shutdown
	drained   chan struct{} // closed when the draining is over
	leading   *leading
	life      *life       // of what runs beside Raft here
	caughtUp  atomic.Bool // once it has applied what was committed when it came up
}

func mintGroup() shard.GroupID { return shard.GroupID(uuid.NewString()) }

// serverID names a voter for Raft. The directory is part of it: a node that lost its disk lost its votes, and under its
// old name it could vote twice in one term.
func serverID(node shard.NodeID, directory shard.DirectoryID) raft.ServerID {
	return raft.ServerID(string(node) + "@" + string(directory))
}

func nodeOf(id raft.ServerID) (shard.NodeID, shard.DirectoryID) {
	node, directory, _ := strings.Cut(string(id), "@")
	return shard.NodeID(node), shard.DirectoryID(directory)
}

// openVoter opens the store. Doing it again changes nothing.
func (c *Coordinator) openVoter() error {
	c.opening.Lock()
	defer c.opening.Unlock()
	switch {
	case c.life.ctx.Err() != nil:
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	case c.voter.Load() != nil:
		return nil
	}
	v, err := c.newVoter()
	if err == nil {
		c.voter.Store(v)
	}
	return err
}

// bootstrap is the voter's, unless this node shuts down: then its store is closed, or about to be.
func (c *Coordinator) bootstrap(v *voter, founders []Founder) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.life.ctx.Err() != nil {
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	}
	return v.bootstrap(founders)
}

// startVoter runs Raft on a founder.
func (c *Coordinator) startVoter(v *voter) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.life.ctx.Err() != nil {
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	}
	return v.start()
}

// dropVoter closes the store of a seat that came to nothing. When the node shuts down that is left to stop.
func (c *Coordinator) dropVoter() {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.life.ctx.Err() != nil {
		return
	}
	if v := c.voter.Swap(nil); v != nil {
		if err := v.close(); err != nil {
			c.log.Warn("the raft store was not closed in good order", "error", err)
		}
	}
}

// newVoter opens the store of a seat that nobody knows of yet. The caller holds opening.
func (c *Coordinator) newVoter() (*voter, error) {
	log := c.log.Named("raft")
	s, snapshots, err := openStore(c.cfg.Directory, log)
	if err != nil {
		return nil, err
	}
	switch dropped, err := repair(s, snapshots); {
	case err != nil:
		return nil, errors.Join(err, s.close(closeStore))
	case dropped:
		log.Warn("the log contradicted the newest snapshot and was dropped")
	}
	return &voter{
		c: c, log: log, store: s, snapshots: snapshots, machine: newMachine(s, c.clock, c.log), life: newLife(c.life.ctx),
	}, nil
}

// hasLog reports whether Raft has entries or a snapshot here: whether the group was bootstrapped, as far as this node knows.
func (v *voter) hasLog() (bool, error) {
	last, err := v.store.LastIndex()
	if err != nil || last > 0 {
		return last > 0, err
	}
	snapshots, err := v.snapshots.List()
	if err != nil {
		return false, fmt.Errorf("raft snapshots: %w", err)
	}
	return len(snapshots) > 0, nil
}

// bootstrap writes the first configuration. Exactly one founder does it. When it was interrupted before, a term may be there
// without an entry; as no other node has a configuration, nothing can have come of that term.
func (v *voter) bootstrap(founders []Founder) error {
	var servers []raft.Server
	for _, f := range founders {
		servers = append(servers, raft.Server{ID: serverID(f.Node, f.Directory), Address: raft.ServerAddress(f.Addr)})
	}
	if err := v.store.SetUint64([]byte("CurrentTerm"), 0); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	err := raft.BootstrapCluster(v.config(), v.store, v.store, v.snapshots, nil, raft.Configuration{Servers: servers})
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

func (v *voter) config() *raft.Config {
	t := v.c.cfg.Times
	conf := raft.DefaultConfig()
	conf.LocalID = serverID(v.c.cfg.Node, v.c.cfg.Directory.ID())
	conf.HeartbeatTimeout = t.Heartbeat
	conf.ElectionTimeout = t.Election
	conf.LeaderLeaseTimeout = t.LeaderLease
	conf.CommitTimeout = t.CommitTimeout
	conf.SnapshotInterval = snapshotsCheck
	conf.SnapshotThreshold = snapshotEvery
	conf.TrailingLogs = trailingLogs
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	conf.NotifyCh = v.notify
	conf.Logger = newSparse(v.log, time.Now)
	return conf
}

// start runs Raft and everything that needs it.
func (v *voter) start() error {
	v.notify, v.drained = make(chan bool, 1), make(chan struct{})
	v.leading = newLeading(v)
	v.proposer = newProposer(v)
	layer := v.c.cfg.Port.RaftLayer()
	layer.Name(string(v.config().LocalID))
	layer.Expect(unaddressed)
	v.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses{v.c, v},
		Stream:                streams{layer},
		MaxPool:               raftPool,
		MaxRPCsInFlight:       raftInFlight,
		Timeout:               raftIO,
		Logger:                newSparse(v.log, time.Now),
	})
	r, err := raft.NewRaft(v.config(), v.machine, raftCache(v.store), raftStore{v.store}, v.snapshots, newReach(v.transport, v.replicates))
	if err != nil {
		return fmt.Errorf("start raft: %w", errors.Join(err, v.transport.Close()))
	}
	v.raft.Store(r)
	if err := v.hasten(r); err != nil {
		v.log.Warn("the election waits for its timeout", "error", err)
	}
	go v.drain()
	v.life.Go(func() { v.observe(r) })
	v.proposer.start(r)
	v.life.Go(v.guard)
	return nil
}

// hasten lets a voter that is the only one campaign at once: no other could lead, so there is no heartbeat to wait for first. Raft looks
// anew at a timeout that has become shorter, if only by a nanosecond. etcd advances the ticks of such a member.
func (v *voter) hasten(r *raft.Raft) error {
	voters := slices.DeleteFunc(slices.Clone(v.configured()), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	if len(voters) != 1 || voters[0].ID != v.config().LocalID {
		return nil
	}
	c := r.ReloadableConfig()
	c.HeartbeatTimeout--
	return r.ReloadConfig(c)
}

// raftCache keeps the newest entries in memory, where followers are served from.
func raftCache(s *store) raft.LogStore {
	cache, err := raft.NewLogCache(logCacheSize, raftStore{s})
	if err != nil {
		panic(err) // only for a size of 0
	}
	return cache
}

// drain hands changes of leadership to leading. Raft waits for nobody else.
func (v *voter) drain() {
	defer close(v.drained)
	for leads := range v.notify {
		v.leading.set(leads)
	}
}

// observe rings when Raft on this node learns of another leader, which it does before any watch tells.
func (v *voter) observe(r *raft.Raft) {
	changes := make(chan raft.Observation, 16)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, isLeader := o.Data.(raft.LeaderObservation)
		return isLeader
	})
	r.RegisterObserver(observer)
	defer r.DeregisterObserver(observer)
	for {
		select {
		case <-changes:
			v.c.leaders.ring()
		case <-v.life.done():
			return
		}
	}
}

// guard stops the node when its part of the group cannot go on.
func (v *voter) guard() {
	select {
	case <-v.store.failed:
		v.abdicate()
		v.c.fail(v.store.err())
	case <-v.machine.failed:
		v.abdicate()
		_, _, err := v.machine.look()
		v.c.fail(err)
	case <-v.life.done():
	}
}

// abdicate cuts the node off from the other voters, whatever state Raft is in: a leader with a dead disk would lead for ever.
func (v *voter) abdicate() {
	v.c.cfg.Port.RaftLayer().Cut()
	v.leading.close()
}

// leader is who leads as Raft on this node knows it; node is empty when it knows none.
func (v *voter) leader() (node shard.NodeID, addr string, term uint64) {
	r := v.raft.Load()
	if r == nil {
		return "", "", 0
	}
	term = r.CurrentTerm()
	a, id := r.LeaderWithID()
	if a == "" {
		return "", "", term
	}
	node, _ = nodeOf(id)
	addr, _ = unaddressed(a)
	return node, addr, term
}

// configured are the servers of Raft's newest configuration, committed or not.
func (v *voter) configured() []raft.Server {
	r := v.raft.Load()
	if r == nil {
		return nil
	}
	f := r.GetConfiguration() // answered at once
	return f.Configuration().Servers
}

// replicates reports whether this node leads in the term and the server has a seat.
func (v *voter) replicates(id raft.ServerID, term uint64) bool {
	r := v.raft.Load()
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term &&
		slices.ContainsFunc(v.configured(), func(s raft.Server) bool { return s.ID == id })
}

func (v *voter) leads() bool {
	r := v.raft.Load()
	return r != nil && r.State() == raft.Leader
}

// close stops Raft and closes the store, each within a bound, and reports what did not end.
func (v *voter) close() error {
	var faults []error
	v.life.end()
	if r := v.raft.Load(); r != nil {
		v.proposer.close()
		v.leading.close()
		v.c.cfg.Port.RaftLayer().Cut() // Raft waits for its calls, and one to a node that is gone lasts until its timeout
		done := make(chan error, 1)
		go func() { done <- r.Shutdown().Error() }()
		select {
		case err := <-done:
			faults = append(faults, err)
		case <-time.After(shutdownRaft):
			faults = append(faults, fmt.Errorf("raft did not stop within %s", shutdownRaft))
		}
		faults = append(faults, v.transport.Close())
		if errors.Join(faults...) == nil {
			close(v.notify) // Raft sends no more
			<-v.drained
		}
	}
	faults = append(faults, v.store.close(closeStore))
	return errors.Join(faults...)
}
