package coordinator

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// A grant counts from when OnView has returned from the map that holds its entry: that map may show what the lease was lost for, and
// until OnView returns this node goes by the one before.
func TestGrantWaitsForTheMapToBeShown(t *testing.T) {
	d, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	inside, gate := make(chan struct{}), make(chan struct{})
	c := &Coordinator{
		cfg: Config{Node: "n1", Directory: d, OnView: func(*shard.View) { close(inside); <-gate }},
		log: hclog.NewNullLogger(), clock: newClock(), life: newLife(context.Background()),
	}
	c.follower, c.session = newFollower(c), newSession(c)
	c.session.number.Store(1)
	v, err := shard.NewView().With(&shard.Delta{Index: 1, Group: "g", LastSession: 1, Sessions: []shard.Session{{ID: 1, Node: "n1", Directory: "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan struct{})
	go func() { defer close(shown); c.follower.publish(v, true) }()
	<-inside
	c.session.granted(grant{session: 1, index: 1, until: time.Hour})
	if until := c.session.leaseUntil(); until != 0 {
		t.Errorf("the lease runs to %s, and the map is not shown yet", until)
	}
	close(gate)
	<-shown
	if until := c.session.leaseUntil(); until != time.Hour {
		t.Errorf("the lease runs to %s once the map is shown", until)
	}
}

// A follower that starts over, because a change did not fit, takes no map that is older than what it has shown: the lease may rest on what
// such a one does not show.
func TestStartingOverDoesNotGoBack(t *testing.T) {
	d, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var seen []shard.Index
	c := &Coordinator{
		cfg: Config{Node: "n1", Directory: d, OnView: func(v *shard.View) { seen = append(seen, v.Index) }},
		log: hclog.NewNullLogger(), clock: newClock(), life: newLife(context.Background()),
	}
	c.follower, c.session = newFollower(c), newSession(c)
	take := func(index shard.Index) bool {
		t.Helper()
		whole := &shard.View{Index: index, Group: "g"}
		return c.follower.take(&wire.WatchEvent{Deltas: fsm.EncodeDelta(whole.Whole()), Index: uint64(index)}, "addr", new(fsm.Parts))
	}
	if !take(5) {
		t.Fatal("the first map is refused")
	}
	c.follower.forget()
	if take(3) {
		t.Error("an older map is taken")
	}
	c.follower.repeat()
	if !take(5) || !take(6) {
		t.Error("a map that is as new is refused")
	}
	if want := []shard.Index{5, 5, 5, 6}; !slices.Equal(seen, want) {
		t.Errorf("maps %v were shown, not %v", seen, want)
	}
}
