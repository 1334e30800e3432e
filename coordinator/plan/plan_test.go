package plan_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// formed returns a state with n members that host the types, by the entries that lead there.
func formed(t *testing.T, n int, zones int, specs ...shard.Spec) *fsm.State {
	t.Helper()
	s := fsm.New()
	apply := func(c fsm.Command) {
		t.Helper()
		entry, err := fsm.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		next, result := fsm.Apply(s, s.Index()+1, entry)
		if fault := result.Verdicts[0].Fault; fault != nil {
			t.Fatal(fault)
		}
		s = next
	}
	apply(&fsm.Genesis{Group: "g", Voters: []fsm.Founder{{Node: "n00", Addr: "n00:1", Directory: "d00"}}})
	for i := range n {
		c := &fsm.Register{
			Node: shard.NodeID(fmt.Sprintf("n%02d", i)), Directory: shard.DirectoryID(fmt.Sprintf("d%02d", i)), Machine: "m",
			Addr: fmt.Sprintf("n%02d:1", i), Hosts: specs, Nonce: fmt.Sprint(i), Voter: i == 0,
		}
		if zones > 0 {
			c.Zone = fmt.Sprintf("z%d", i%zones)
		}
		apply(c)
	}
	return s
}

func input(s *fsm.State, now time.Duration) plan.Input {
	return plan.Input{Now: now, State: s, Renewed: func(shard.SessionID) (time.Duration, uint64) { return now, 0 }}
}

// Shards of a type are spread so that no node has two primaries or two copies more than another, copies of a shard are on
// distinct nodes and zones, and when a node dies its shards fall to all the others alike. All sizes that people run.
func TestPlacementIsEven(t *testing.T) {
	for nodes := 1; nodes <= 9; nodes++ {
		for replicas := 0; replicas < min(nodes, 4); replicas++ {
			for _, zones := range []int{0, 3} {
				if zones > 0 && (nodes%zones != 0 || replicas >= zones) {
					continue
				}
				spec := shard.Spec{Name: "t", Shards: 64, Replicas: replicas, AckTimeout: time.Second}
				even(t, formed(t, nodes, zones, spec), spec, nodes, zones)
			}
		}
	}
}

// With many nodes too, and fast: a type of the largest size on 300 nodes.
func TestPlacementOnManyNodesIsEven(t *testing.T) {
	spec := shard.Spec{Name: "t", Shards: shard.MaxShards, Replicas: 2, AckTimeout: time.Second}
	s := formed(t, 300, 3, spec)
	primaries, copies, pairs, most := map[shard.NodeID]int{}, map[shard.NodeID]int{}, map[[2]shard.NodeID]int{}, 0
	for _, step := range plan.NewDriver().Next(input(s, time.Minute)) {
		for _, i := range step.Command.(*fsm.Place).Items {
			primaries[i.Nodes[0]]++
			inZone := map[string]bool{}
			for _, n := range i.Nodes {
				copies[n]++
				inZone[s.View.Members[n].Zone] = true
				pairs[[2]shard.NodeID{i.Nodes[0], n}]++
				if n != i.Nodes[0] {
					most = max(most, pairs[[2]shard.NodeID{i.Nodes[0], n}])
				}
			}
			if len(i.Nodes) != 3 || len(inZone) != 3 {
				t.Fatalf("shard %s on %v", i.Shard, i.Nodes)
			}
		}
	}
	p, c := slices.Collect(maps.Values(primaries)), slices.Collect(maps.Values(copies))
	if len(p) != 300 || slices.Max(p)-slices.Min(p) > 1 || slices.Max(c)-slices.Min(c) > 3 {
		t.Errorf("primaries %d to %d, copies %d to %d", slices.Min(p), slices.Max(p), slices.Min(c), slices.Max(c))
	}
	if most > 12 { // of 218 shards that a node leads, with 200 nodes to go to for each of two copies
		t.Errorf("%d shards of one node have their copies on the same other", most)
	}
}

func even(t *testing.T, s *fsm.State, spec shard.Spec, nodes, zones int) {
	t.Helper()
	steps := plan.NewDriver().Next(input(s, time.Minute))
	if len(steps) != 1 {
		t.Fatalf("%d nodes: %d steps", nodes, len(steps))
	}
	primaries, copies, pairs := map[shard.NodeID]int{}, map[shard.NodeID]int{}, map[[2]shard.NodeID]int{}
	for _, i := range steps[0].Command.(*fsm.Place).Items {
		primaries[i.Nodes[0]]++
		inZone := map[string]bool{}
		for k, n := range i.Nodes {
			copies[n]++
			if slices.Contains(i.Nodes[:k], n) || (zones > 0 && inZone[s.View.Members[n].Zone]) {
				t.Fatalf("%d nodes: shard %s on %v", nodes, i.Shard, i.Nodes)
			}
			inZone[s.View.Members[n].Zone] = true
			if k > 0 {
				pairs[[2]shard.NodeID{i.Nodes[0], n}]++
			}
		}
		if len(i.Nodes) != spec.Replicas+1 {
			t.Fatalf("%d nodes: shard %s on %v", nodes, i.Shard, i.Nodes)
		}
	}
	id := func(i int) shard.NodeID { return shard.NodeID(fmt.Sprintf("n%02d", i)) }
	p, c, q := []int{}, []int{}, []int{}
	for i := range nodes {
		p, c = append(p, primaries[id(i)]), append(c, copies[id(i)])
		for k := range nodes {
			if i != k && zones == 0 {
				q = append(q, pairs[[2]shard.NodeID{id(i), id(k)}])
			}
		}
	}
	if slices.Max(p)-slices.Min(p) > 1 || slices.Max(c)-slices.Min(c) > 2 {
		t.Errorf("%d nodes, %d replicas, %d zones: primaries %v, copies %v", nodes, spec.Replicas, zones, p, c)
	}
	if spec.Replicas > 0 && len(q) > 0 && slices.Max(q)-slices.Min(q) > 6 {
		t.Errorf("%d nodes, %d replicas: pairs of primary and copy from %d to %d", nodes, spec.Replicas, slices.Min(q), slices.Max(q))
	}
}

// The same calls give the same steps: maps inside must never decide an order.
func TestNextIsDeterministic(t *testing.T) {
	specs := []shard.Spec{
		{Name: "t", Shards: 32, Replicas: 2, MinAcks: 1, AckTimeout: time.Second},
		{Name: "u", Shards: 32, Volatile: true, AckTimeout: time.Second},
	}
	s := formed(t, 7, 3, specs...)
	want := plan.NewDriver().Next(input(s, time.Minute))
	for range 20 {
		if got := plan.NewDriver().Next(input(s, time.Minute)); !reflect.DeepEqual(got, want) {
			t.Fatalf("\n%v\n%v", got, want)
		}
	}
}

// A proposal that is under way is not made again at once, for the log would fill with what is refused; without an effect
// it is, because it may have been lost.
func TestProposalsAreRepeatedSlowly(t *testing.T) {
	s := formed(t, 3, 0, shard.Spec{Name: "t", Shards: 4, AckTimeout: time.Second})
	d := plan.NewDriver()
	proposals := 0
	for now := time.Minute; now < time.Minute+time.Second; now += 10 * time.Millisecond {
		for _, step := range d.Next(input(s, now)) {
			if step.Command != nil {
				proposals++
			}
		}
	}
	if proposals != 2 {
		t.Errorf("%d proposals in a second without any effect, want 2", proposals)
	}
}

// Large types are placed by commands of bounded size.
func TestBatchesAreBounded(t *testing.T) {
	s := formed(t, 3, 0, shard.Spec{Name: "t", Shards: shard.MaxShards, Replicas: 2, AckTimeout: time.Second})
	placed := 0
	for _, step := range plan.NewDriver().Next(input(s, time.Minute)) {
		c := step.Command.(*fsm.Place)
		placed += len(c.Items)
		if len(c.Items) > plan.MaxBatch || len(step.Notes) != len(c.Items) {
			t.Fatalf("%d items, %d notes in one step", len(c.Items), len(step.Notes))
		}
		if _, err := fsm.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	if placed != shard.MaxShards {
		t.Errorf("%d shards placed", placed)
	}
}

// Before the group is formed there is nothing to do, and words about shards that nobody knows are not kept.
func TestStrayWordsAreForgotten(t *testing.T) {
	d := plan.NewDriver()
	if steps := d.Next(input(fsm.New(), time.Minute)); steps != nil {
		t.Errorf("before Genesis: %v", steps)
	}
	s := formed(t, 3, 0, shard.Spec{Name: "t", Shards: 1, AckTimeout: time.Second})
	d.Report(shard.Report{Kind: shard.ReportEstablished, Shard: shard.ID{Type: "x", Number: 9}, Epoch: 1})
	d.Sealed(shard.Sealed{Shard: shard.ID{Type: "t"}, Epoch: 7, Copy: 1})
	if steps := d.Next(input(s, time.Minute)); len(steps) != 1 {
		t.Errorf("%v", steps)
	}
}

// A new leader lets sessions renew with it before it ends one, but none for longer than that one's own lease: its process renews at least twice in
// that, however seldom the leader's own renews.
func TestNewLeaderAwaitsASessionForItsLease(t *testing.T) {
	w := newWorld(t)
	for _, l := range []string{"found a b c", "up a lease=2s autonomy=1m", "up b lease=1h autonomy=1m", "up c lease=1h autonomy=1m", "wait 1s", "silent a b", "lead"} {
		w.line(strings.Fields(l))
	}
	w.driver.Times.Lease, w.driver.Times.Grace = time.Hour, 24*time.Minute
	w.line([]string{"wait", "3s"})
	for node, over := range map[shard.NodeID]bool{"a": true, "b": false, "c": false} {
		if got := w.state.View.Ended(w.nodes[node].session); got != over {
			t.Errorf("the session of %s is over: %t\n%s", node, got, w.out.String())
		}
	}
}

// A leader with a long lease notices that it stood still for as long as shorter ones last: it does not end the sessions of those that stood still with it.
func TestLeaderWithALongLeaseStoodStill(t *testing.T) {
	w := newWorld(t)
	w.driver.Times.Lease, w.driver.Times.Grace = time.Hour, 24*time.Minute
	for _, l := range []string{"found a b c", "up a lease=1h autonomy=1m", "up b lease=2s autonomy=1m", "up c lease=2s autonomy=1m", "wait 5s", "stall 3s", "wait 1s"} {
		w.line(strings.Fields(l))
	}
	for _, node := range []shard.NodeID{"a", "b", "c"} {
		if w.state.View.Ended(w.nodes[node].session) {
			t.Errorf("the session of %s is over\n%s", node, w.out.String())
		}
	}
	w.line([]string{"silent", "b"})
	w.line([]string{"wait", "3s"})
	if !w.state.View.Ended(w.nodes["b"].session) {
		t.Errorf("the session of b goes on without it\n%s", w.out.String())
	}
}
