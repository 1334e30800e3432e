package coordinator

import (
	"context"

	"muster/fsm"
	"muster/shard"
)

// Whoever calls a leader acts for itself alone. With TLS the caller's certificate names it: the port holds the name that a call gives against that
// before anything here sees it. What is said in the name of a node, a session or a directory is then held against the caller, in this file: what is proposed
// by proposable, and all that concerns a session, renewals, reports, barriers and farewells, by speaksFor.
//
// What the leader does by itself passes none of this. It is no call.

// proposable fails unless the caller may propose all of these; "" is a client, whose proposal the node that it asked brings to the leader. A
// command that is not listed is the leader's own, so that a new one is closed until someone decides: a proposal to expire a session, or to elect a copy,
// would need no session at all.
func proposable(caller shard.NodeID, commands []fsm.Command) error {
	for _, c := range commands {
		switch c := c.(type) {
		case *fsm.RequireQuorum:
		case *fsm.Register: // it ends the session that the node has, and who knows its directory and its address could so take its place
			if c.Node != caller {
				return shard.Errorf(shard.CodeWrongGroup, "node %s registers itself: %q does not do it", c.Node, caller)
			}
		case *fsm.Depart, *fsm.Leave, *fsm.Withdraw:
			if caller == "" {
				return shard.Errorf(shard.CodeWrongGroup, "%s is for a node to propose, and not for a client", fsm.NameOf(c))
			}
		default:
			return shard.Errorf(shard.CodeWrongGroup, "%s is for the leader to propose, and for nobody else", fsm.NameOf(c))
		}
	}
	return nil
}

// sessionOf is the session in whose name a command is proposed.
func sessionOf(command fsm.Command) (id shard.SessionID, named bool) {
	switch c := command.(type) {
	case *fsm.Depart:
		return c.Session, true
	case *fsm.Leave:
		return c.Session, true
	case *fsm.Withdraw:
		return c.Session, true
	}
	return 0, false
}

// speaksFor fails with CodeWrongGroup unless the session is that of the caller, as this node, the leader, knows it. One that is over is nobody's, and what is
// said in its name comes to nothing. One that is not known here does not exist: whoever has a session learnt of it from an entry that was
// applied, and a leader that is ready has applied all of those.
func (v *voter) speaksFor(ctx context.Context, caller shard.NodeID, id shard.SessionID) error {
	if err := v.leading.awaitReady(ctx); err != nil {
		return err
	}
	view := v.machine.state().View
	of, live := view.Sessions[id]
	switch {
	case live && of.Node != caller:
		return shard.Errorf(shard.CodeWrongGroup, "session %d is that of node %s, and not of %q", id, of.Node, caller)
	case !live && !view.Ended(id):
		return shard.Errorf(shard.CodeWrongGroup, "there is no session %d, the newest is %d", id, view.LastSession)
	}
	return nil
}

// holds fails with CodeWrongGroup unless the directory is the one in which the caller keeps its copies.
func (v *voter) holds(caller shard.NodeID, directory shard.DirectoryID) error {
	if m, known := v.machine.state().View.Members[caller]; !known || m.Directory != directory {
		return shard.Errorf(shard.CodeWrongGroup, "directory %s is not that of %q", directory, caller)
	}
	return nil
}
