package fsm_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"muster/fsm"
	"muster/shard"
)

// group is a replicated state under test, with one node that follows it by deltas alone.
type group struct {
	t        testing.TB
	state    *fsm.State
	follower *shard.View
	stream   fsm.Parts
	specs    map[string]shard.Spec // by name, for scripts
}

func newGroup(t testing.TB) *group {
	return &group{t: t, state: fsm.New(), follower: shard.NewView(), specs: map[string]shard.Spec{}}
}

func encode(t testing.TB, commands ...fsm.Command) []byte {
	t.Helper()
	entry, err := fsm.Encode(commands...)
	if err == nil {
		return entry
	}
	// A script may show a command that its proposer would not send. Nodes must refuse it all the same.
	return fsm.EncodeUnchecked(commands...)
}

// apply runs an entry and demands of any entry whatever: the state before it is untouched, the state after it is sound,
// restoring its snapshot gives the same bytes, and the follower's map is the state's.
func (g *group) apply(entry []byte) fsm.Result {
	g.t.Helper()
	before := g.state.Snapshot()
	next, result := fsm.Apply(g.state, g.state.Index()+1, entry)
	if !bytes.Equal(before, g.state.Snapshot()) {
		g.t.Fatalf("entry %d changed the state it was applied to", result.Index)
	}
	if err := errors.Join(next.Check(), next.CheckAfter(g.state, &result.Delta)); err != nil {
		g.t.Fatalf("after entry %d: %v", result.Index, err)
	}
	g.state = next
	snapshot := next.Snapshot()
	restored, err := fsm.Restore(snapshot)
	if err != nil {
		g.t.Fatalf("after entry %d: %v", result.Index, err)
	}
	if !bytes.Equal(snapshot, restored.Snapshot()) {
		g.t.Fatalf("after entry %d the restored state has another snapshot", result.Index)
	}
	g.follow(&result.Delta)
	return result
}

// follow brings the follower's map up to date, through the wire format.
func (g *group) follow(d *shard.Delta) {
	g.t.Helper()
	var read *shard.Delta
	for _, message := range fsm.EncodeDelta(d) {
		var err error
		if read, err = g.stream.Take(message); err != nil {
			g.t.Fatal(err)
		}
	}
	var err error
	if g.follower, err = g.follower.With(read); err != nil {
		g.t.Fatal(err)
	}
	if !reflect.DeepEqual(g.follower.Whole(), g.state.View.Whole()) {
		g.t.Fatalf("the follower has\n%+v\nthe state\n%+v", g.follower.Whole(), g.state.View.Whole())
	}
}

func founder(node string) fsm.Founder {
	return fsm.Founder{Node: shard.NodeID(node), Addr: node + ":7420", Directory: "dir-" + shard.DirectoryID(node)}
}
