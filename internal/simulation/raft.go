package simulation

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// Raft's times, as the product sets them.
const (
	raftLook     = 50 * time.Millisecond
	raftLease    = 400 * time.Millisecond  // a leader without a majority believes in itself for so long
	electionFrom = 300 * time.Millisecond  // after the last leader
	electionTo   = 1500 * time.Millisecond // likewise
)

// raft is the group's log as Raft gives it: one order for everybody. Simulated is what the library leaves open: a leader
// that is cut off and does not know it, proposals that are lost with it or committed by the next, and followers that apply
// late. What is committed stays.
type raft struct {
	w       *world
	entries [][]byte
	states  []*fsm.State // by index; 0 is the state before the first entry
	renewed [][]renewed  // what the entry of that index extended
	seats   []plan.Seat  // the configuration
	leader  *process     // nil while there is none
	term    uint64
	pending []proposal // at the leader
	alone   time.Duration
	heard   map[*node]time.Duration // when a leader last reached the voter
	next    time.Duration           // the coming election

	versions []int // by index: how many entries changed the map up to there, and one
}

// proposal is an entry on its way, and who hears its verdicts.
type proposal struct {
	entry    []byte
	commands []fsm.Command // what the entry says
	done     func([]fsm.Verdict, shard.Index)
}

// renewed is a session whose lease an entry extended, with the renewal's number; 0 for its registration.
type renewed struct {
	session shard.SessionID
	number  uint64
}

func newRaft(w *world, founders []*node) *raft {
	r := &raft{w: w, entries: [][]byte{nil}, states: []*fsm.State{fsm.New()}, renewed: [][]renewed{nil}, versions: []int{1}, heard: map[*node]time.Duration{}}
	for _, n := range founders {
		n.disk.votes = true
		r.seats = append(r.seats, plan.Seat{Node: n.id, Directory: n.disk.directory, Addr: n.addr(), Voter: true})
	}
	w.after(raftLook, r.look)
	return r
}

// committed is the newest index.
func (r *raft) committed() shard.Index { return shard.Index(len(r.states) - 1) }

func (r *raft) state() *fsm.State { return r.states[len(r.states)-1] }

// look is Raft's own life: leaders without a majority go, others come, followers catch up.
func (r *raft) look() {
	r.w.after(raftLook, r.look)
	if p := r.leader; p != nil {
		switch {
		case p.n.process != p:
			r.depose()
		case r.w.now < p.n.paused || !r.majority(p.n):
			if r.alone += raftLook; r.alone > raftLease {
				r.depose()
			}
		default:
			r.alone = 0
			r.listen(p.n)
			r.flush()
			r.followers()
		}
	}
	if r.leader == nil && r.w.now >= r.next {
		r.elect()
	}
}

// majority reports whether a node reaches more than half of the voters, itself included.
func (r *raft) majority(n *node) bool {
	return r.most(func(other *node) bool { return r.reaches(n, other) })
}

func (r *raft) reaches(n, other *node) bool {
	return r.sits(other) && (other == n || r.w.net.open(n, other))
}

// most reports whether something is true of more than half of the voters.
func (r *raft) most(of func(*node) bool) bool {
	so, voters := 0, 0
	for i := range r.seats {
		if !r.seats[i].Voter {
			continue
		}
		voters++
		if of(r.w.node(r.seats[i].Node)) {
			so++
		}
	}
	return 2*so > voters
}

// listen notes whom the leader reaches.
func (r *raft) listen(leader *node) {
	for i := range r.seats {
		if other := r.w.node(r.seats[i].Node); r.reaches(leader, other) {
			r.heard[other] = r.w.now
		}
	}
}

// sits reports whether a node answers as a voter: it runs, and its directory has the seat and the log.
func (r *raft) sits(n *node) bool {
	return n.process != nil && r.w.now >= n.paused && n.disk.votes && slices.ContainsFunc(r.seats, func(s plan.Seat) bool {
		return s.Voter && s.Node == n.id && s.Directory == n.disk.directory
	})
}

// removes reports whether the removal of a node is on its way into the log: whoever ordered it may have given up since.
func (r *raft) removes(n *node) bool {
	return slices.ContainsFunc(r.pending, func(p proposal) bool {
		c, removal := p.commands[0].(*fsm.Remove)
		return removal && c.Node == n.id
	})
}

// intact counts the voters whose directories are what they were, and stay so, without one of the nodes.
func (r *raft) intact(but *node) (intact, voters int) {
	for _, s := range r.seats {
		if !s.Voter {
			continue
		}
		voters++
		m := r.state().View.Members[s.Node] // of a removed one the next operator who starts it wipes the directory
		if n := r.w.node(s.Node); n != but && m.Directory == s.Directory && n.disk.directory == s.Directory && !n.absent && !r.removes(n) {
			intact++
		}
	}
	return intact, voters
}

// reseat makes one change of the configuration, if the process still leads.
func (r *raft) reseat(p *process, s plan.VoterStep) {
	if r.leader != p || !r.majority(p.n) {
		return
	}
	r.w.counts.seats++
	r.w.log("raft: %s", s)
	at := slices.IndexFunc(r.seats, func(old plan.Seat) bool { return old.Node == s.Seat.Node && old.Directory == s.Seat.Directory })
	next := slices.Clone(r.seats)
	switch s.Action {
	case plan.AddNewcomer:
		next = append(next, plan.Seat{Node: s.Seat.Node, Directory: s.Seat.Directory, Addr: s.Seat.Addr})
	case plan.Promote:
		next[at].Voter = true
	case plan.Dismiss:
		next = slices.Delete(next, at, at+1)
	}
	r.seats = next
	r.w.note(uint64(len(next)))
	// What went silent a moment ago nobody can know yet: its last renewal may have been on its way for long.
	unknown := r.w.setup.times.Grace + latest + plan.GatherRenewals + raftLook
	if !r.most(func(n *node) bool { return r.reaches(p.n, n) || r.heard[n] > 0 && r.w.now < r.heard[n]+unknown }) {
		r.w.fail("raft: %s leaves the leader without a majority of %v", s, next)
	}
}

// transfer hands the lead to another voter.
func (r *raft) transfer() {
	old := r.leader
	for _, n := range r.fit() {
		if n.process != old {
			r.w.log("raft: %s hands the lead to %s", old.n.id, n.id)
			r.leader = nil
			r.w.after(r.w.between(0, raftLease), func() { old.resign() })
			r.enthrone(n.process)
			return
		}
	}
}

// depose ends the leadership as the others see it. The leader learns it later, if it lives.
func (r *raft) depose() {
	old := r.leader
	r.w.log("raft: %s leads no more, %d proposals open", old.n.id, len(r.pending))
	r.leader, r.alone = nil, 0
	r.next = r.w.now + r.w.between(electionFrom, electionTo)
	r.w.after(r.w.between(0, raftLease), func() { old.resign() })
}

// elect makes a voter that reaches a majority the leader.
func (r *raft) elect() {
	if fit := r.fit(); len(fit) > 0 {
		r.enthrone(pick(r.w, fit).process)
	}
}

func (r *raft) fit() []*node {
	var fit []*node
	for _, n := range r.w.nodes {
		if r.sits(n) && r.majority(n) {
			fit = append(fit, n)
		}
	}
	return fit
}

// enthrone makes a process the leader. What the last one had sent out may be in its log: some prefix of it is committed
// now, the rest is gone.
func (r *raft) enthrone(p *process) {
	survive := r.pending[:r.w.dice.IntN(len(r.pending)+1)]
	r.pending = nil
	r.term++
	r.leader = p
	r.w.log("raft: %s leads term %d, %d proposals survive", p.n.id, r.term, len(survive))
	for _, s := range survive {
		r.commit(proposal{s.entry, s.commands, ignored})
	}
	p.lead()
}

// propose takes an entry from a process that believes it leads. A leader that is none any more gets no answer.
func (r *raft) propose(p *process, done func([]fsm.Verdict, shard.Index), commands ...fsm.Command) {
	entry, err := fsm.Encode(commands...)
	if err != nil {
		r.w.fail("%s proposes what cannot be: %v", p.n.id, err)
	}
	if r.leader != p {
		return
	}
	r.pending = append(r.pending, proposal{entry, commands, done})
	r.w.after(r.w.between(time.Millisecond, 8*time.Millisecond), r.flush)
}

// idle reports whether there is a leader and nothing is on its way into the log, renewals apart: what was proposed before it lost
// its majority may still be committed.
func (r *raft) idle() bool {
	return r.leader != nil && r.leader.leads != nil && !slices.ContainsFunc(r.pending, func(p proposal) bool {
		_, renewal := p.commands[0].(*fsm.Renew)
		return !renewal
	})
}

// reports reports whether an entry is what nodes have said about copies.
func (p proposal) reports() bool {
	switch p.commands[0].(type) {
	case *fsm.CopyReady, *fsm.CopyLost:
		return true
	}
	return false
}

// flush commits what the leader has, when it still leads and reaches a majority.
func (r *raft) flush() {
	p := r.leader
	if p == nil || p.n.process != p || r.w.now < p.n.paused || !r.majority(p.n) {
		return
	}
	batch := r.pending
	r.pending = nil
	for _, b := range batch {
		r.commit(b)
	}
}

// commit applies an entry and judges the state that comes of it.
func (r *raft) commit(b proposal) {
	index := r.committed() + 1
	next, result := fsm.Apply(r.state(), index, b.entry)
	if err := next.CheckAfter(r.state(), &result.Delta); err != nil {
		r.w.fail("after entry %d: %v", index, err)
	}
	r.entries, r.states = append(r.entries, b.entry), append(r.states, next)
	version := r.versions[len(r.versions)-1]
	if !result.Delta.Empty() {
		version++
	}
	r.versions = append(r.versions, version)
	r.renewed = append(r.renewed, extended(b.commands, &result))
	r.w.check.placed(result.Delta.Placements)
	r.w.check.released(&result)
	if result.Delta.Empty() && b.reports() {
		r.w.counts.vain++
	}
	r.w.note(uint64(index), uint64(len(b.entry)), uint64(len(result.Delta.Placements)))
	for i := range result.Delta.Placements {
		p := &result.Delta.Placements[i]
		if r.w.trace != nil {
			r.w.log("entry %d: %s", index, describe(p))
		}
		r.w.harry(p)
		before := r.states[index-1].View.Placement(p.Shard)
		r.w.decided(before, p)
		r.w.succeeded(before, p)
		r.w.lags(p)
		r.w.changed(p)
	}
	for _, id := range result.Delta.Ended {
		r.w.log("entry %d: session %d ends", index, id)
	}
	if r.leader != nil && r.leader.n.process == r.leader {
		r.leader.advance(index)
	}
	b.done(result.Verdicts, index)
	r.w.after(r.w.between(time.Millisecond, 30*time.Millisecond), r.followers)
}

// describe is a placement as a trace shows it.
func describe(p *shard.Placement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s epoch %d.%d %s on %q (%s), C", p.Shard, p.Epoch, p.Version, p.Status, p.Node, p.Cause)
	for _, c := range p.Copies {
		fmt.Fprintf(&b, " %d@%s(%s)", c.ID, c.Node, c.State)
	}
	for _, l := range p.Learners {
		fmt.Fprintf(&b, ", learner %d@%s(%s)", l.Copy.ID, l.Copy.Node, l.Copy.State)
		if l.Replaces != 0 {
			fmt.Fprintf(&b, " for %d", l.Replaces)
		}
	}
	if p.Wished() {
		fmt.Fprintf(&b, ", wished to %s", p.HandNode)
	}
	return b.String()
}

// extended lists the leases that an entry extended.
func extended(commands []fsm.Command, result *fsm.Result) []renewed {
	var out []renewed
	for i, c := range commands {
		v := result.Verdicts[i]
		switch c := c.(type) {
		case *fsm.Register:
			if v.Fault == nil && !v.Again {
				out = append(out, renewed{session: v.Session})
			}
		case *fsm.Renew:
			for k, item := range c.Items {
				if v.Fault == nil && v.Faults[k] == nil {
					out = append(out, renewed{item.Session, item.Number})
				}
			}
		}
	}
	return out
}

// followers brings the nodes that the leader reaches forward, each to some index that is committed.
func (r *raft) followers() {
	if r.leader == nil {
		return
	}
	for _, n := range r.w.nodes {
		p := n.process
		if p == nil || p == r.leader || p.applied == r.committed() || r.w.now < n.paused || !r.w.net.open(r.leader.n, n) {
			continue
		}
		if r.w.chance(0.7) {
			p.advance(r.committed())
		} else {
			p.advance(p.applied + 1)
		}
	}
}

// replay applies the whole log again, from the start and through a snapshot in the middle, and demands the same bytes.
func (r *raft) replay() {
	s := fsm.New()
	middle := r.w.dice.IntN(len(r.entries))
	for i := 1; i < len(r.entries); i++ {
		s, _ = fsm.Apply(s, shard.Index(i), r.entries[i])
		if i != middle {
			continue
		}
		restored, err := fsm.Restore(s.Snapshot())
		if err != nil {
			r.w.fail("entry %d: a snapshot cannot be restored: %v", i, err)
		}
		s = restored
	}
	if !bytes.Equal(s.Snapshot(), r.state().Snapshot()) {
		r.w.fail("the log applied again gives another state")
	}
}
