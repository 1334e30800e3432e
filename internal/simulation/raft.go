package simulation

import (
	"bytes"
	"time"

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
	leader  *process     // nil while there is none
	term    uint64
	pending []proposal // at the leader
	alone   time.Duration
	next    time.Duration // the coming election
}

// proposal is an entry on its way, and who hears its verdicts.
type proposal struct {
	entry []byte
	done  func([]fsm.Verdict, shard.Index)
}

// renewed is a session whose lease an entry extended, with the renewal's number; 0 for its registration.
type renewed struct {
	session shard.SessionID
	number  uint64
}

func newRaft(w *world) *raft {
	r := &raft{w: w, entries: [][]byte{nil}, states: []*fsm.State{fsm.New()}, renewed: [][]renewed{nil}}
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
			r.flush()
			r.followers()
		}
	}
	if r.leader == nil && r.w.now >= r.next {
		r.elect()
	}
}

// majority reports whether a voter reaches more than half of them, itself included.
func (r *raft) majority(n *node) bool {
	reached, voters := 0, 0
	for _, other := range r.w.nodes {
		if !other.voter {
			continue
		}
		voters++
		if other == n || (other.process != nil && r.w.now >= other.paused && r.w.net.open(n, other)) {
			reached++
		}
	}
	return 2*reached > voters
}

// depose ends the leadership as the others see it. The leader learns it later, if it lives.
func (r *raft) depose() {
	old := r.leader
	r.w.log("raft: %s leads no more, %d proposals open", old.n.id, len(r.pending))
	r.leader, r.alone = nil, 0
	r.next = r.w.now + r.w.between(electionFrom, electionTo)
	r.w.after(r.w.between(0, raftLease), func() { old.resign() })
}

// elect makes a voter that reaches a majority the leader. What the last one had sent out may be in its log: some prefix
// of it is committed now, the rest is gone.
func (r *raft) elect() {
	var fit []*node
	for _, n := range r.w.nodes {
		if n.voter && n.process != nil && r.w.now >= n.paused && r.majority(n) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return
	}
	p := pick(r.w, fit).process
	survive := r.pending[:r.w.dice.IntN(len(r.pending)+1)]
	r.pending = nil
	r.term++
	r.leader = p
	r.w.log("raft: %s leads term %d, %d proposals survive", p.n.id, r.term, len(survive))
	for _, s := range survive {
		r.commit(proposal{entry: s.entry, done: func([]fsm.Verdict, shard.Index) {}})
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
	r.pending = append(r.pending, proposal{entry, done})
	r.w.after(r.w.between(time.Millisecond, 8*time.Millisecond), r.flush)
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
	if err := next.Check(); err != nil {
		r.w.fail("after entry %d: %v", index, err)
	}
	r.entries, r.states = append(r.entries, b.entry), append(r.states, next)
	r.renewed = append(r.renewed, extended(b.entry, &result))
	r.w.check.placed(result.Delta.Placements)
	r.w.note(uint64(index), uint64(len(b.entry)), uint64(len(result.Delta.Placements)))
	for i := range result.Delta.Placements {
		p := &result.Delta.Placements[i]
		r.w.log("entry %d: %s epoch %d %s on %q (%s)", index, p.Shard, p.Epoch, p.Status, p.Node, p.Cause)
		r.w.harry(p)
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

// extended lists the leases that an entry extended.
func extended(entry []byte, result *fsm.Result) []renewed {
	commands, err := fsm.Decode(entry)
	if err != nil {
		return nil
	}
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
