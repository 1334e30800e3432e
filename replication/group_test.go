package replication_test

import (
	"fmt"
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// This file is the control group of the explored world: the real state machine and the real recovery driver. Results are
// remembered, so each distinct entry on each distinct state is applied once however often the search comes by.

const copies = 3 // in a full C

var theShard = shard.ID{Type: "t", Number: 0}

// A group is one state of the control group. Two paths that lead to the same placement, members and sessions lead to the
// same *group.
type group struct {
	id    int
	state *fsm.State
	place *shard.Placement
}

// groups interns group states and remembers what commands do to them.
type groups struct {
	known   map[string]*group
	applied map[string]outcome
	elected map[string]fsm.Command
	index   shard.Index
	spec    shard.Spec
}

// outcome is what an entry made of a state.
type outcome struct {
	next    *group
	refused bool // any of it
}

func newGroups() *groups {
	return &groups{known: map[string]*group{}, applied: map[string]outcome{}, elected: map[string]fsm.Command{}}
}

// apply runs one entry; nil when the state machine refused any of it.
func (gs *groups) apply(g *group, commands ...fsm.Command) *group {
	if o := gs.enter(g, commands...); !o.refused {
		return o.next
	}
	return nil
}

// enter runs one entry.
func (gs *groups) enter(g *group, commands ...fsm.Command) outcome {
	entry, err := fsm.Encode(commands...)
	if err != nil {
		panic(err)
	}
	key := fmt.Sprint(g.id, " ", string(entry))
	if o, seen := gs.applied[key]; seen {
		return o
	}
	gs.index++
	state, result := fsm.Apply(g.state, gs.index, entry)
	o := outcome{gs.intern(state), !accepted(result)}
	gs.applied[key] = o
	return o
}

func accepted(r fsm.Result) bool {
	return r.Fault == nil && !slices.ContainsFunc(r.Verdicts, func(v fsm.Verdict) bool {
		return v.Fault != nil || slices.ContainsFunc(v.Faults, func(f *shard.Error) bool { return f != nil })
	})
}

// intern names a state by all that matters here, which is all but the index.
func (gs *groups) intern(s *fsm.State) *group {
	p := s.View.Placement(theShard)
	key := fmt.Sprint(s.View.Members, s.View.Sessions, s.View.LastSession)
	if p != nil {
		named := *p
		named.Changed = 0
		key += fmt.Sprintf("%+v", named)
	}
	if g := gs.known[key]; g != nil {
		return g
	}
	g := &group{id: len(gs.known) + 1, state: s, place: p}
	gs.known[key] = g
	return g
}

// found forms a group of nodes that host one shard. Copies are ready on the first few: epoch 1 is to be established on n1.
func (gs *groups) found(c config) *group {
	gs.spec = shard.Spec{
		Name: theShard.Type, Shards: 1, Replicas: copies - 1, MinAcks: c.quorum - 1, AckTimeout: shard.DefaultAckTimeout,
	}
	genesis := &fsm.Genesis{Group: "g"}
	place := fsm.Placing{Shard: theShard}
	var commands []fsm.Command
	for i := range c.members + c.spares {
		n := nodeID(i)
		genesis.Voters = append(genesis.Voters, fsm.Founder{Node: n, Addr: address(i), Directory: directory(i, 0)})
		commands = append(commands, gs.register(i, 0, 0, 0))
		if i < c.members {
			place.Nodes = append(place.Nodes, n)
		}
	}
	commands = append([]fsm.Command{genesis, &fsm.RaiseVersion{To: fsm.Version}}, append(commands, &fsm.Place{Items: []fsm.Placing{place}})...)
	g := gs.mustApply(gs.intern(fsm.New()), commands...)
	if checkCopies(g) != nil {
		return g
	}
	var ready fsm.CopyReady
	for _, c := range g.place.Copies {
		ready.Items = append(ready.Items, fsm.CopyItem{Shard: theShard, Copy: c.ID, Directory: c.Directory})
	}
	return gs.mustApply(g, &ready)
}

func (gs *groups) mustApply(g *group, commands ...fsm.Command) *group {
	next := gs.apply(g, commands...)
	if next == nil {
		panic(fmt.Sprintf("refused: %+v", commands))
	}
	return next
}

func nodeID(i int) shard.NodeID { return shard.NodeID(fmt.Sprintf("n%d", i+1)) }

func directory(i, wiped int) shard.DirectoryID {
	return shard.DirectoryID(fmt.Sprintf("d%d.%d", i+1, wiped))
}

func address(i int) string { return fmt.Sprintf("127.0.0.1:%d", i+1) }

// register is what the process of a node says when it starts. The nonce is new each time.
func (gs *groups) register(i, wiped, life int, last shard.SessionID) *fsm.Register {
	return &fsm.Register{
		Node: nodeID(i), Directory: directory(i, wiped), Machine: shard.MachineID(fmt.Sprintf("m%d", i+1)), Addr: address(i),
		Hosts: []shard.Spec{gs.spec}, Nonce: fmt.Sprintf("p%d.%d.%d", i+1, wiped, life), LastSession: last, Voter: true, Fenced: true,
	}
}

// recover takes the shard's primary away, rightly or not; nil when it has none.
func (gs *groups) recover(g *group) *group {
	p := g.place
	if p.Session == 0 {
		return nil
	}
	return gs.apply(g, &fsm.BeginRecovery{
		Items: []fsm.Recovery{{Shard: theShard, Epoch: p.Epoch, Version: p.Version}}, Cause: shard.CauseAsked,
	})
}

// activate lets the primary of an epoch serve.
func (gs *groups) activate(g *group, epoch shard.Epoch, session shard.SessionID) *group {
	p := g.place
	if p.Status != shard.Establishing {
		return nil
	}
	return gs.apply(g, &fsm.Activate{
		Items: []fsm.Activation{{Shard: theShard, Epoch: epoch, Version: p.Version, Session: session}},
	})
}

// elect lets the real driver choose from exactly these answers; nil when it would not.
func (gs *groups) elect(g *group, answers []shard.Sealed) *group {
	key := fmt.Sprintf("%d %+v", g.id, answers)
	command, seen := gs.elected[key]
	if !seen {
		command = choose(g.state, answers)
		gs.elected[key] = command
	}
	if command == nil {
		return nil
	}
	return gs.apply(g, command)
}

// choose asks the driver as soon as the answers are in and again when it has waited for more.
func choose(s *fsm.State, answers []shard.Sealed) fsm.Command {
	driver, now := plan.NewDriver(), time.Hour
	in := plan.Input{State: s, Renewed: func(shard.SessionID) (time.Duration, uint64) { return now, 0 }}
	in.Now = now
	driver.Next(in)
	for _, a := range answers {
		driver.Sealed(a)
	}
	for range 2 {
		for _, step := range driver.Next(in) {
			if _, is := step.Command.(*fsm.Elect); is {
				return step.Command
			}
		}
		in.Now += driver.Times.Gather
	}
	return nil
}

// restart is a node's process starting again on its directory.
func (gs *groups) restart(g *group, i int, n *node) *group {
	return gs.apply(g, gs.register(i, n.wiped, n.life, n.session))
}

// replace is a node coming back with an empty directory: its old session must have run out first.
func (gs *groups) replace(g *group, i int, n *node) *group {
	if _, live := g.state.View.Sessions[n.session]; live {
		renewal, _ := g.state.Renewal(n.session)
		g = gs.apply(g, &fsm.Expire{Session: n.session, LastRenewal: renewal})
	}
	if g == nil {
		return nil
	}
	return gs.apply(g, gs.register(i, n.wiped, n.life, 0))
}

// sessionOf is the newest session of a node.
func (g *group) sessionOf(i int) shard.SessionID { return g.state.View.Members[nodeID(i)].Session }
