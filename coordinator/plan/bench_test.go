package plan_test

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// sizes are shards × nodes of the benchmarks, with 3 copies in 5 zones.
var sizes = []struct{ shards, nodes int }{{1_000, 10}, {10_000, 100}, {100_000, 1_000}}

const zones = 5

// town builds views by hand: the entries that would lead there take longer than what is measured.
type town struct {
	view *shard.View
	next shard.CopyID
}

func nodeID(i int) shard.NodeID { return shard.NodeID(fmt.Sprintf("n%04d", i)) }

// settled is a view of one type spread evenly over the nodes: each has its part of every zone's copies, and of primaries.
func settled(shards, nodes int) *town { return settledBy(shards, nodes, 2, shard.LeastLoaded) }

// settledBy is the same by any strategy, and with that many replicas, at most 2.
func settledBy(shards, nodes, replicas int, strategy shard.Strategy) *town {
	t := &town{view: shard.NewView()}
	t.view.Group = "g"
	for i := range nodes {
		t.join(i)
	}
	spec := shard.Spec{Name: "t", Shards: uint32(shards), Replicas: replicas, MinAcks: min(1, replicas), AckTimeout: time.Second, Strategy: strategy}
	tv := &shard.TypeView{Spec: spec, Placements: make([]*shard.Placement, shards)}
	dice := rand.New(rand.NewPCG(1, 2))
	decks := make([][]int, zones) // of each zone's nodes, shuffled again when it is used up: even, and no two nodes share all
	for i := range shards {
		p := &shard.Placement{Shard: shard.ID{Type: "t", Number: shard.Number(i)}, Epoch: 1, Version: 1, Status: shard.Active, WriteQuorum: spec.WriteQuorum()}
		for k := range replicas + 1 { // sets of zones, and who of them leads, in turn
			zone := (i + k*(1+i/zones%2)) % zones
			if len(decks[zone]) == 0 {
				decks[zone] = dice.Perm(nodes / zones)
			}
			n := zone + zones*decks[zone][0]
			decks[zone] = decks[zone][1:]
			t.next++
			p.Copies = append(p.Copies, shard.Copy{ID: t.next, Node: nodeID(n), Directory: "d" + shard.DirectoryID(nodeID(n)), State: shard.CopyReady})
		}
		t.lead(p, p.Copies[i/zones/2%len(p.Copies)])
		tv.Placements[i] = p
	}
	t.view.Types["t"] = tv
	for moves := plan.Balance(t.view); len(moves) > 0; moves = plan.Balance(t.view) {
		t.carry(moves)
	}
	return t
}

func (t *town) lead(p *shard.Placement, c shard.Copy) {
	p.Primary, p.Node, p.Session = c.ID, c.Node, t.view.Members[c.Node].Session
	p.ActiveEpoch, p.ActivePrimary, p.ActiveNode, p.ActiveSession = p.Epoch, c.ID, c.Node, p.Session
}

func (t *town) join(i int) {
	t.view.LastSession++
	id := nodeID(i)
	t.view.Members[id] = shard.Member{
		ID: id, Directory: "d" + shard.DirectoryID(id), Session: t.view.LastSession, Zone: fmt.Sprintf("z%d", i%zones), Hosts: []shard.TypeName{"t"},
	}
	t.view.Sessions[t.view.LastSession] = shard.Session{ID: t.view.LastSession, Node: id, Directory: "d" + shard.DirectoryID(id)}
}

// leave ends a node's session. What it led is led by the other copy that leads less by now, as after an election.
func (t *town) leave(i int) {
	_, leads := t.tally(&testing.B{})
	id := nodeID(i)
	delete(t.view.Sessions, t.view.Members[id].Session)
	for _, p := range t.view.Types["t"].Placements {
		if p.Node != id {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(p.Copies), func(c shard.Copy) bool { return c.Node == id })
		if len(others) == 0 {
			continue // it waits for the node
		}
		heir := slices.MinFunc(others, func(a, b shard.Copy) int { return leads[a.Node] - leads[b.Node] })
		leads[heir.Node]++
		t.lead(p, heir)
	}
}

// carry carries moves out at once, as a group that has all the time would.
func (t *town) carry(moves []plan.Move) {
	old := t.view.Types["t"]
	next := &shard.TypeView{Spec: old.Spec, Placements: make([]*shard.Placement, len(old.Placements))}
	for i, p := range old.Placements {
		clone := *p
		clone.Copies = append([]shard.Copy(nil), p.Copies...)
		next.Placements[i] = &clone
	}
	for _, m := range moves {
		p := next.Placements[m.Shard.Number]
		if m.Kind == plan.CopyMove {
			t.next++
			c := shard.Copy{ID: t.next, Node: m.To, Directory: t.view.Members[m.To].Directory, State: shard.CopyReady}
			replaced := false
			for k := range p.Copies {
				if p.Copies[k].Node == m.From {
					p.Copies[k], replaced = c, true
				}
			}
			if !replaced {
				p.Copies = append(p.Copies, c)
			}
			continue
		}
		for _, c := range p.Copies {
			if c.Node == m.To {
				t.lead(p, c)
			}
		}
	}
	t.view.Types = maps.Clone(t.view.Types)
	t.view.Types["t"] = next
}

// tally counts copies and primaries of the nodes that are up, and checks that no shard is on one node, or in one zone, twice.
func (t *town) tally(tb testing.TB) (copies, leads map[shard.NodeID]int) {
	copies, leads = map[shard.NodeID]int{}, map[shard.NodeID]int{}
	for id := range t.view.Members {
		if t.view.Up(id) {
			copies[id], leads[id] = 0, 0
		}
	}
	for _, p := range t.view.Types["t"].Placements {
		leads[p.Node]++
		seen := map[string]bool{}
		for _, c := range p.Copies {
			copies[c.Node]++
			if zone := t.view.Members[c.Node].Zone; seen[zone] {
				tb.Fatalf("shard %s has two copies in zone %s", p.Shard, zone)
			} else {
				seen[zone] = true
			}
		}
	}
	return copies, leads
}

// minimum is the fewest moves that bring loads into the band around their mean.
func minimum(loads map[shard.NodeID]int) int {
	sum, n := 0, len(loads)
	for _, x := range loads {
		sum += x
	}
	low, high := sum/n, (sum+n-1)/n
	missing, over := 0, 0
	for _, x := range loads {
		missing, over = missing+max(0, low-x), over+max(0, x-high)
	}
	return max(missing, over)
}

// skew is the largest load over the mean.
func skew(loads map[shard.NodeID]int) float64 {
	sum, most := 0, 0
	for _, x := range loads {
		sum, most = sum+x, max(most, x)
	}
	return float64(most) * float64(len(loads)) / float64(sum)
}

func split(moves []plan.Move) (copies, leads int) {
	for _, m := range moves {
		if m.Kind == plan.CopyMove {
			copies++
		} else {
			leads++
		}
	}
	return copies, leads
}

// upheavals are what happens to a balanced group of n nodes. Each returns the fewest copies that must move.
var upheavals = []struct {
	name string
	do   func(t *town, n int) int
}{
	{"scan", func(*town, int) int { return 0 }},
	{"join", func(t *town, n int) int {
		t.join(n)
		copies, _ := t.tallyLoose()
		return minimum(copies)
	}},
	{"leave", func(t *town, n int) int {
		copies, _ := t.tallyLoose()
		t.leave(n / 2)
		return copies[nodeID(n/2)]
	}},
	{"full", func(t *town, n int) int { // twice the nodes: half of everything moves
		for i := range n {
			t.join(n + i)
		}
		copies, _ := t.tallyLoose()
		return minimum(copies)
	}},
}

func (t *town) tallyLoose() (copies, leads map[shard.NodeID]int) {
	return t.tally(&testing.B{})
}

// bareScan is the least that anybody does who looks at a map: it counts the copies of every node.
func bareScan(v *shard.View) []int32 {
	index := make(map[shard.NodeID]int32, len(v.Members))
	for id := range v.Members {
		index[id] = int32(len(index))
	}
	copies := make([]int32, len(index))
	for _, t := range v.Types {
		for _, p := range t.Placements {
			for i := range p.Copies {
				copies[index[p.Copies[i].Node]]++
			}
		}
	}
	return copies
}

// bareHeap is the least that a planner does: with Go's own heap it gives 3 copies of each shard, one after the other, to the node
// that has least and is in a zone without one. It knows nothing of what is there, of primaries, or of why.
func bareHeap(shards, nodes int) []int32 {
	h := &greedy{load: make([]int32, nodes)}
	for i := range nodes {
		h.nodes = append(h.nodes, int32(i))
	}
	out, aside := make([]int32, 0, 3*shards), []int32{}
	for range shards {
		used := [zones]bool{}
		for end := len(out) + 3; len(out) < end; {
			s := heap.Pop(h).(int32)
			aside = append(aside, s)
			if !used[s%zones] {
				used[s%zones] = true
				out = append(out, s)
				h.load[s]++
			}
		}
		for _, s := range aside {
			heap.Push(h, s)
		}
		aside = aside[:0]
	}
	return out
}

// greedy is a heap of nodes by load.
type greedy struct{ nodes, load []int32 }

func (g *greedy) Len() int           { return len(g.nodes) }
func (g *greedy) Less(i, k int) bool { return g.load[g.nodes[i]] < g.load[g.nodes[k]] }
func (g *greedy) Swap(i, k int)      { g.nodes[i], g.nodes[k] = g.nodes[k], g.nodes[i] }
func (g *greedy) Push(s any)         { g.nodes = append(g.nodes, s.(int32)) }

// Pop implements heap.Interface.
func (g *greedy) Pop() any {
	last := g.nodes[len(g.nodes)-1]
	g.nodes = g.nodes[:len(g.nodes)-1]
	return last
}

// median runs f five times.
func median(f func()) time.Duration {
	var all []time.Duration
	for range 5 {
		began := time.Now()
		f()
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[2]
}

// BenchmarkPlan prints what a plan costs and how good it is: the time of a planner that has planned before, as a leader's has;
// cold, of one that sees the view for the first time; moves ÷ the fewest possible, of copies and of primaries; and the largest
// load ÷ the mean once the plan is carried out. Beside it stand the references, measured in the same run: for a full plan the bare
// heap, and the ratio; for the others the bare scan, and how much longer than that a plan takes, cold. Medians of five.
func BenchmarkPlan(b *testing.B) {
	for _, size := range sizes {
		for _, u := range upheavals {
			b.Run(fmt.Sprintf("%dx%d/%s", size.shards, size.nodes, u.name), func(b *testing.B) {
				nodes := size.nodes
				if u.name == "full" {
					nodes /= 2
				}
				t := settled(size.shards, nodes)
				before := t.view
				least := u.do(t, nodes)
				var p plan.Planner
				var warm []time.Duration
				for b.Loop() {
					p = plan.Planner{}
					p.Plan(before, nil)
					began := time.Now()
					p.Plan(t.view, nil)
					warm = append(warm, time.Since(began))
				}
				slices.Sort(warm)
				costs(b, t, u.name == "full", warm[len(warm)/2], size.shards, size.nodes)
				judge(b, t, p.Moves(), least)
			})
		}
	}
}

// costs reports the times.
func costs(b *testing.B, t *town, full bool, warm time.Duration, shards, nodes int) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	cold := median(func() { new(plan.Planner).Plan(t.view, nil) })
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(warm), "ms/plan")
	b.ReportMetric(ms(cold), "ms/cold")
	if full {
		heap := median(func() { bareHeap(shards, nodes) })
		b.ReportMetric(ms(heap), "ms/bare-heap")
		b.ReportMetric(ms(warm)/ms(heap), "plan/bare-heap")
		return
	}
	scan := median(func() { bareScan(t.view) })
	b.ReportMetric(ms(scan), "ms/bare-scan")
	b.ReportMetric(ms(warm)-ms(scan), "ms/beyond-scan")
	b.ReportMetric(ms(cold)-ms(scan), "ms/cold-beyond-scan")
}

// judge reports how good the moves are, and fails when they are not.
func judge(b *testing.B, t *town, moves []plan.Move, least int) {
	copies, leads := split(moves)
	_, before := t.tallyLoose()
	t.carry(moves)
	after, led := t.tally(b)
	if least > 0 {
		b.ReportMetric(float64(copies)/float64(least), "copies/min")
		b.ReportMetric(float64(leads)/float64(max(1, minimum(before))), "leads/min")
	} else if len(moves) > 0 {
		b.Errorf("a balanced group is moved: %v …", moves[0])
	}
	b.ReportMetric(skew(after), "copies-max/mean")
	b.ReportMetric(skew(led), "leads-max/mean")
	if skew(after) > 1.03 || float64(copies) > 1.05*float64(max(1, least)) {
		b.Errorf("%d moves of copies for %d, the largest load is %.3f of the mean", copies, least, skew(after))
	}
	if again := plan.Balance(t.view); len(again) > len(moves)/50 {
		b.Errorf("%d moves, and when they are made %d more, %v …", len(moves), len(again), again[0])
	}
}

// BenchmarkIdle prints what a look at a balanced group costs its leader: it looks twenty times a second.
func BenchmarkIdle(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dx%d", size.shards, size.nodes), func(b *testing.B) {
			s := fsm.New()
			s.View = settled(size.shards, size.nodes).view
			d, now := plan.NewDriver(), time.Minute
			look := func() int {
				now += 50 * time.Millisecond
				return len(d.Next(input(s, now)))
			}
			for range 10 {
				look()
			}
			for b.Loop() {
				if steps := look(); steps > 0 {
					b.Fatalf("%d steps", steps)
				}
			}
		})
	}
}

// BenchmarkRebuild prints what it costs the leader that a zone of five is gone and most shards miss a copy: the plan, made anew a few
// times a second while copies are made, and a look in between.
func BenchmarkRebuild(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dx%d", size.shards, size.nodes), func(b *testing.B) {
			t := settled(size.shards, size.nodes)
			for i := range size.nodes / zones {
				t.leave(i * zones)
			}
			s := fsm.New()
			s.View = t.view
			var plans, looks []time.Duration
			for b.Loop() {
				d, now := plan.NewDriver(), time.Hour
				look := func(after time.Duration) time.Duration {
					now += after
					began := time.Now()
					d.Next(input(s, now))
					return time.Since(began)
				}
				look(0)
				plans = append(plans, look(2*time.Minute)) // by now they are given up
				looks = append(looks, look(50*time.Millisecond))
			}
			for unit, all := range map[string][]time.Duration{"ms/plan": plans, "ms/look": looks} {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1e3, unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
