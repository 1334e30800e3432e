package fsm_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/fsm"
	"muster/shard"
)

// TestRandomLogs writes logs at random, partly from what the state holds and partly stale or plain wrong, and applies each
// on one node, on a second one that is restored from a snapshot half-way, and on a follower that sees deltas only. All
// must agree byte for byte after every entry, and the history of each shard must keep the promises of a placement. Over
// all logs each command has to take effect at least once, or the test shows nothing.
func TestRandomLogs(t *testing.T) {
	effects := map[string]int{}
	for seed := range uint64(90) {
		r := &randomLog{group: newGroup(t), dice: rand.New(rand.NewPCG(seed, 7)), effects: effects,
			leaders: map[leadership]shard.SessionID{}, lost: map[shard.CopyID]bool{}, said: map[shard.SessionID]fsm.Lengths{}}
		r.play(120)
		if t.Failed() {
			t.Fatalf("this was seed %d", seed)
		}
	}
	for _, name := range append(fsm.Names(), "released", "stalled", "re-placed", "learnt", "handed-over", "learner-dropped", "copy-lost", "wished", "degraded", "restored", "lossy", "buried") {
		if effects[name] == 0 {
			t.Errorf("no random log had an effective %s", name)
		}
	}
}

type leadership struct {
	shard shard.ID
	epoch shard.Epoch
}

type randomLog struct {
	*group
	dice    *rand.Rand
	effects map[string]int
	leaders map[leadership]shard.SessionID
	lost    map[shard.CopyID]bool
	said    map[shard.SessionID]fsm.Lengths // while it was live, the first
	request uint64
	quiet   bool // nobody fails or goes: what takes several steps gets there
}

func (r *randomLog) play(entries int) {
	var second *fsm.State
	r.step(encode(r.t, &fsm.Genesis{Group: "g", Voters: []fsm.Founder{founder("n0"), founder("n1"), founder("n2")}}))
	for i := range entries {
		if i == entries/2 {
			var err error
			if second, err = fsm.Restore(r.state.Snapshot()); err != nil {
				r.t.Fatal(err)
			}
		}
		r.quiet = i/20%2 == 1
		entry := r.entry()
		index := r.state.Index() + 1
		r.step(entry)
		if second == nil {
			continue
		}
		second, _ = fsm.Apply(second, index, entry)
		if !bytes.Equal(second.Snapshot(), r.state.Snapshot()) {
			r.t.Fatalf("entry %d: the restored node holds other bytes", index)
		}
	}
}

// step applies an entry and judges what it did to each placement.
func (r *randomLog) step(entry []byte) {
	before := r.state
	result := r.apply(entry)
	commands, _ := fsm.Decode(entry)
	for i, v := range result.Verdicts {
		if v.Fault == nil && (len(v.Faults) == 0 || slices.Contains(v.Faults, nil)) {
			r.effects[fsm.NameOf(commands[i])]++
		}
	}
	r.effects["released"] += len(result.Releases)
	r.recall(result.Index, result.Delta.Placements)
	for i := range result.Delta.Placements {
		if at := result.Delta.Placements[i].Changed; at != result.Index {
			r.t.Errorf("entry %d says it was changed at %d", result.Index, at)
		}
		r.judge(before.View.Placement(result.Delta.Placements[i].Shard), &result.Delta.Placements[i])
	}
	r.remember()
}

// remember demands that what a session has said stays as it was, and is known for as long as a shard names the session as the one that served last.
func (r *randomLog) remember() {
	for id := range r.state.View.Sessions {
		if _, known := r.said[id]; known {
			continue
		}
		if l, said := r.state.Lengths(id); said {
			r.said[id] = l
		}
	}
	for _, t := range r.state.View.Types {
		for _, p := range t.Placements {
			if p == nil {
				continue
			}
			want, said := r.said[p.ActiveSession]
			if got, _ := r.state.Lengths(p.ActiveSession); said && got != want {
				r.t.Errorf("%s waits for session %d, which said %+v and is known for %+v", p.Shard, p.ActiveSession, want, got)
			}
			if m := r.state.View.Members[p.ActiveNode]; said && m.Session != p.ActiveSession {
				r.effects["buried"]++
			}
		}
	}
}

func (r *randomLog) judge(old, p *shard.Placement) {
	if old != nil && (p.Epoch < old.Epoch || p.Version < old.Version || p.ActiveEpoch < old.ActiveEpoch) {
		r.t.Errorf("I2: %+v after %+v", p, old)
	}
	if p.Session != 0 {
		at := leadership{p.Shard, p.Epoch}
		if other, led := r.leaders[at]; led && other != p.Session {
			r.t.Errorf("I1: %s epoch %d is led by sessions %d and %d", p.Shard, p.Epoch, other, p.Session)
		}
		r.leaders[at] = p.Session
	}
	for _, c := range p.Copies {
		if r.lost[c.ID] && c.State != shard.CopyLost {
			r.t.Errorf("copy %d of %s was lost and is %s", c.ID, p.Shard, c.State)
		}
		if c.State == shard.CopyLost {
			r.lost[c.ID] = true
		}
	}
	if old != nil && old.Status == shard.Recovering && p.Status == shard.Active && p.Epoch == old.Epoch && old.Session == 0 {
		r.effects["activated at once"]++ // several commands of one entry
	}
	if p.Stalled != 0 {
		r.effects["stalled"]++
	}
	if p.Cause == shard.CauseReplaced {
		r.effects["re-placed"]++
	}
	if old != nil {
		r.judgeMove(old, p)
	}
}

// judgeMove demands of a new C, made by one command or several, what keeps confirmed records safe.
func (r *randomLog) judgeMove(old, p *shard.Placement) {
	members := map[shard.CopyID]bool{}
	for _, c := range old.Copies {
		members[c.ID] = true
	}
	for _, c := range p.Copies {
		if !members[c.ID] && old.Status != shard.Forming && p.Emptied == old.Emptied {
			r.effects["learnt"]++
			if p.Version == old.Version || c.State == shard.CopyMinted {
				r.t.Errorf("I8: %+v joined %+v as %+v", c, old, p)
			}
		}
	}
	if p.Version == old.Version && len(p.Copies) != len(old.Copies) {
		r.t.Errorf("C of %+v changed to %+v in one version", old, p)
	}
	if p.Epoch != old.Epoch && p.Wished() && p.Status != shard.Active {
		r.t.Errorf("a wish outlived its epoch: %+v", p)
	}
	if p.Session != old.Session && p.Epoch == old.Epoch && old.Session != 0 && p.Session != 0 {
		r.t.Errorf("I1: %+v after %+v", p, old)
	}
}

// recall counts what the histories gained by an entry. That each ends with what its shard is, the state's own check sees.
func (r *randomLog) recall(index shard.Index, changed []shard.Placement) {
	for i := range changed {
		past := r.state.History(changed[i].Shard)
		for _, c := range past {
			if c.Index == index {
				r.effects[string(c.Cause)]++
			}
		}
		if len(past) == fsm.MaxHistory {
			r.effects["forgotten"]++
		}
	}
}

// entry makes one to three commands; a few entries are damaged.
func (r *randomLog) entry() []byte {
	var commands []fsm.Command
	for range 1 + r.dice.IntN(3) {
		commands = append(commands, r.command())
	}
	entry := encode(r.t, commands...)
	if r.dice.IntN(30) == 0 {
		entry[1+r.dice.IntN(len(entry)-1)] ^= 1 << r.dice.IntN(8)
	}
	return entry
}

func (r *randomLog) command() fsm.Command {
	switch dice := r.dice.IntN(30); {
	case r.quiet && dice > 5:
		return r.aboutShard()
	case dice < 4:
		return r.register()
	default:
		return r.disturbance(dice)
	}
}

// disturbance is mostly what nodes, people and failures do.
func (r *randomLog) disturbance(dice int) fsm.Command {
	switch dice {
	case 4, 5:
		one := fsm.Renewal{Session: r.session(), Number: uint64(r.dice.IntN(9))}
		if one.Number%2 == 0 {
			one.Lengths = fsm.Lengths{Lease: time.Duration(1+one.Number) * time.Second, Autonomy: time.Minute}
		}
		return &fsm.Renew{Items: []fsm.Renewal{one}}
	case 6:
		session := r.session()
		number, _ := r.state.Renewal(session)
		return &fsm.Expire{Session: session, LastRenewal: number - min(number, uint64(r.dice.IntN(2)))}
	case 7:
		return &fsm.Depart{Session: r.session()}
	case 8:
		return &fsm.RequireQuorum{Members: r.dice.IntN(5)}
	case 9, 10:
		r.request++
		return &fsm.Arrive{Name: "b", Parties: 2, Session: r.session(), Request: r.request - min(r.request-1, uint64(r.dice.IntN(3)))}
	case 11:
		return &fsm.Withdraw{Name: "b", Session: r.session(), Request: r.request + 1 - min(r.request, uint64(r.dice.IntN(3)))}
	case 12, 13:
		return r.operator()
	case 14:
		return &fsm.RaiseVersion{To: fsm.RaiseSince + byte(r.dice.IntN(1+fsm.Version-fsm.RaiseSince))}
	}
	return r.aboutShard()
}

// operator makes a command of a person, or of a node that stops.
func (r *randomLog) operator() fsm.Command {
	node := shard.NodeID(fmt.Sprintf("n%d", r.dice.IntN(5)))
	on := r.dice.IntN(4) == 0
	switch r.dice.IntN(7) {
	case 0:
		return &fsm.Mark{Node: node, Draining: &on, Cordoned: &on}
	case 1:
		return &fsm.Leave{Session: r.session()}
	case 2:
		return &fsm.Pause{On: on}
	case 3:
		return &fsm.Pin{Shard: shard.ID{Type: "a"}, Node: node}
	default:
		return &fsm.Remove{Node: node}
	}
}

func (r *randomLog) register() fsm.Command {
	node := fmt.Sprintf("n%d", r.dice.IntN(5))
	c := &fsm.Register{Node: shard.NodeID(node), Directory: shard.DirectoryID("dir-" + node), Machine: "m", Addr: node + ":1", Fenced: true,
		Nonce: fmt.Sprint(r.dice.IntN(40)), LastSession: r.state.View.Members[shard.NodeID(node)].Session,
		Hosts: []shard.Spec{
			{Name: "a", Shards: 2, Replicas: 2, MinAcks: 1, AckTimeout: 1},
			{Name: "v", Shards: 1, Volatile: true, AckTimeout: 1},
			{Name: "l", Shards: 1, Replicas: 2, AckTimeout: 1, LossyAfter: 1},
		}}
	switch r.dice.IntN(12) {
	case 0, 3:
		c.Directory += shard.DirectoryID(fmt.Sprintf("-new%d", r.dice.IntN(9)))
	case 1, 4:
		c.LastSession = shard.SessionID(r.dice.IntN(20))
		if newest := r.state.View.LastSession; r.dice.IntN(2) == 0 && newest > c.LastSession {
			c.SetBack = newest - shard.SessionID(r.dice.IntN(int(newest-c.LastSession)))
		}
	case 2:
		c.Hosts = c.Hosts[:1]
	}
	return c
}

func (r *randomLog) session() shard.SessionID {
	newest := int(r.state.View.LastSession)
	return shard.SessionID(max(1, newest-r.dice.IntN(4)))
}

// aboutShard makes a command that suits the shard's state, most of the time.
func (r *randomLog) aboutShard() fsm.Command {
	id := shard.ID{Type: "a", Number: shard.Number(r.dice.IntN(2))}
	switch r.dice.IntN(8) {
	case 0:
		id = shard.ID{Type: "v"}
	case 1:
		id = shard.ID{Type: "l"}
	}
	var p shard.Placement
	if now := r.state.View.Placement(id); now != nil {
		p = *now
	}
	if r.dice.IntN(20) == 0 {
		p.Version++
	}
	if r.dice.IntN(10) == 0 {
		p.Epoch += shard.Epoch(r.dice.IntN(3)) - 1
	}
	var nodes []shard.NodeID
	for _, n := range r.dice.Perm(5)[:1+r.dice.IntN(3)] {
		nodes = append(nodes, shard.NodeID(fmt.Sprintf("n%d", n)))
	}
	copies := []fsm.CopyItem{{Shard: id, Copy: 1}}
	var answered []shard.CopyID
	for _, c := range p.Copies {
		copies = append(copies, fsm.CopyItem{Shard: id, Copy: c.ID, Directory: c.Directory})
		if r.dice.IntN(3) > 0 {
			answered = append(answered, c.ID)
		}
	}
	fits := map[shard.Status]int{0: 0, shard.Forming: 1, shard.Recovering: 2, shard.Establishing: 3, shard.Active: 4}[p.Status]
	if r.dice.IntN(4) == 0 {
		fits = r.dice.IntN(7)
	}
	switch fits {
	case 0:
		return &fsm.Place{Items: []fsm.Placing{{Shard: id, Epoch: p.Epoch, Version: p.Version, Nodes: nodes}}}
	case 1:
		return &fsm.CopyReady{Items: copies}
	case 2:
		if r.dice.IntN(6) == 0 || id.Type == "l" && r.dice.IntN(2) == 0 {
			return r.promote(&p, nodes)
		}
		return r.elect(&p, answered)
	case 3:
		return &fsm.Activate{Items: []fsm.Activation{{Shard: id, Epoch: p.Epoch, Version: p.Version, Session: p.Session}}}
	case 4:
		switch r.dice.IntN(12) {
		case 0, 1:
		case 2:
			return r.degrade(&p)
		default:
			return r.move(&p)
		}
		return &fsm.BeginRecovery{Cause: shard.CauseAsked, Items: []fsm.Recovery{{Shard: id, Epoch: p.Epoch, Version: p.Version}}}
	default:
		return &fsm.CopyLost{Items: copies[:1+r.dice.IntN(len(copies))/3]}
	}
}

// move makes a command that changes an active shard's copies, or who leads it.
func (r *randomLog) move(p *shard.Placement) fsm.Command {
	node := shard.NodeID(fmt.Sprintf("n%d", r.dice.IntN(5)))
	one := shard.CopyID(0)
	if len(p.Copies) > 0 {
		one = p.Copies[r.dice.IntN(len(p.Copies))].ID
	}
	target := node
	if one != 0 {
		target = ""
	}
	kind := r.dice.IntN(8)
	switch {
	case len(p.Copies) == 0:
		kind = 5 + kind%2
	case p.WriteQuorum == 1 || len(p.Learners) > 0 && kind > 4: // towards more copies
		kind = []int{0, 2, 7, 7}[r.dice.IntN(4)]
	}
	switch kind {
	case 0, 1:
		return &fsm.AddLearner{Items: []fsm.NewLearner{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Node: node,
			Replaces: []shard.CopyID{0, one}[r.dice.IntN(2)]}}}
	case 2, 3:
		return r.reconfig(p)
	case 4:
		drop := &fsm.DropLearner{Items: []fsm.LearnerItem{{Shard: p.Shard, Copy: one}}}
		if len(p.Learners) > 0 {
			drop.Items[0].Copy = p.Learners[0].Copy.ID
		}
		return drop
	case 5:
		return &fsm.Wish{Items: []fsm.Wishing{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, To: one, Node: target}}}
	case 6:
		return &fsm.HandOver{Items: []fsm.Handing{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session, To: one, Node: target}}}
	default:
		ready := &fsm.CopyReady{Items: []fsm.CopyItem{{Shard: p.Shard, Copy: one}}}
		for _, l := range p.Learners {
			ready.Items = append(ready.Items, fsm.CopyItem{Shard: p.Shard, Copy: l.Copy.ID, Directory: l.Copy.Directory})
		}
		return ready
	}
}

// promote goes on with one copy alone or with none, or discards what that left behind.
func (r *randomLog) promote(p *shard.Placement, nodes []shard.NodeID) fsm.Command {
	if len(p.Aside) > 0 && r.dice.IntN(2) == 0 {
		return &fsm.Discard{Shard: p.Shard, Copy: p.Aside[0].Copy.ID}
	}
	if r.dice.IntN(2) == 0 && !slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return r.state.View.Up(c.Node) }) {
		return &fsm.BeginAnew{Items: []fsm.Placing{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Nodes: nodes}}}
	}
	one := fsm.Promotion{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Base: shard.Position{Epoch: 1, LSN: 1}}
	if len(p.Copies) > 0 {
		one.Copy = p.Copies[r.dice.IntN(len(p.Copies))].ID
	}
	if one.Lossy = p.Shard.Type == "l"; one.Lossy {
		for _, c := range p.Copies {
			if c.ID != one.Copy && r.dice.IntN(2) == 0 {
				one.Kept = append(one.Kept, c.ID)
			}
		}
	}
	return &fsm.Promote{Items: []fsm.Promotion{one}}
}

func (r *randomLog) degrade(p *shard.Placement) fsm.Command {
	return &fsm.Degrade{Items: []fsm.Degrading{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Floor: min(1, r.dice.IntN(4))}}}
}

// reconfig proposes the learners that are there in the place of what they replace, most of the time.
func (r *randomLog) reconfig(p *shard.Placement) fsm.Command {
	var copies []shard.CopyID
	replaced := map[shard.CopyID]bool{}
	for _, l := range p.Learners {
		copies, replaced[l.Replaces] = append(copies, l.Copy.ID), true
	}
	for _, c := range p.Copies {
		if !replaced[c.ID] && c.State == shard.CopyReady && (c.ID == p.Primary || r.dice.IntN(8) > 0) {
			copies = append(copies, c.ID)
		}
	}
	if p.Floor > 0 && p.WriteQuorum > 1 && len(p.Learners) == 0 {
		copies = []shard.CopyID{p.Primary}
	}
	return &fsm.Reconfig{Items: []fsm.Reconfiguration{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session,
		Copies: copies, WriteQuorum: p.Quorums(2).For(len(copies))}}}
}

func (r *randomLog) elect(p *shard.Placement, answered []shard.CopyID) fsm.Command {
	e := fsm.Election{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: r.session(), Answered: answered}
	if len(answered) > 0 {
		e.Copy = answered[r.dice.IntN(len(answered))]
		c, _ := p.Copy(e.Copy)
		e.Session = r.state.View.Members[c.Node].Session
	}
	return &fsm.Elect{Items: []fsm.Election{e}}
}
