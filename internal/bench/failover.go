package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"muster/client"
	"muster/internal/load"
	"muster/shard"
)

// failover measures how long shards go without an owner: after kill -9, and in planned hand-offs.
func (b *bench) failover() error {
	k := kindSettings{Name: "durable", Shards: durableP1, Replicas: 2, MinAcks: 1}
	g, err := b.newGroup(3, true, k)
	if err != nil {
		return err
	}
	const lease = 2000.0 // ms, the default
	killed := map[bool][]float64{}
	for range b.repeats {
		for _, leader := range []bool{false, true} {
			ms, err := g.kill9(k.Name, leader)
			if err != nil {
				return err
			}
			b.progress("P9   killed, the Raft leader: %-5t every shard serves after %.0f ms", leader, ms)
			killed[leader] = append(killed[leader], ms)
		}
	}
	b.judge("P9", atMost(lease+100, "kill -9 of a primary until every shard serves, p50").in("ms"), killed[false], "")
	b.judge("P9", atMost(lease+100, "kill -9 of the Raft leader, a primary too, until every shard serves, p50").in("ms"), killed[true], "")
	pauses, err := g.handOffs(k, b.quick)
	if err != nil {
		return err
	}
	b.judge("P9", atMost(20, "pause of a shard in a planned hand-off, p99, of each node").in("ms"), pauses, "")
	transfers, err := g.transfers(b.repeats * 2)
	if err != nil {
		return err
	}
	b.judge("P9", atMost(10, "transfer of the Raft group's lead, from order to answer").in("ms"), transfers, "")
	return nil
}

// inspect asks any member what it knows of the group.
func (g *group) inspect(ctx context.Context) (*client.Client, client.State, error) {
	var addrs []string
	for _, s := range g.all {
		addrs = append(addrs, s.Addr)
	}
	c, err := client.Connect(ctx, addrs...)
	if err != nil {
		return nil, client.State{}, err
	}
	s, err := c.State(ctx)
	return c, s, err
}

// kill9 kills the Raft leader, or another member that leads the most shards, and returns after how many ms an entity in every
// shard has answered. Then it brings the member back.
func (g *group) kill9(kind string, leader bool) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, s, err := g.inspect(ctx)
	if err != nil {
		return 0, err
	}
	c.Close()
	leads := map[shard.NodeID]int{}
	for _, p := range s.View.Types[shard.TypeName(kind)].Placements {
		leads[p.Node]++
	}
	order := []int{0, 1, 2}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(leads[g.all[j].ID], leads[g.all[i].ID]) })
	victim := slices.IndexFunc(order, func(i int) bool { return (g.all[i].ID == s.Leader) == leader })
	if victim < 0 || !leader && leads[g.all[order[victim]].ID] == 0 {
		return 0, fmt.Errorf("nobody to kill: leader %q, primaries %v", s.Leader, leads)
	}
	i := order[victim]
	e, took := errand{Kind: kind, Since: time.Now().UnixNano()}, int64(0)
	g.members[i].Kill()
	if err := e.run(g.caller, "served", &took); err != nil {
		return 0, err
	}
	if err := g.restart(i); err != nil {
		return 0, err
	}
	return float64(took) / 1e6, each(g.processes(), func(p *load.Process) error { return p.Do(load.Request{Do: "ready"}, nil) })
}

// handOffs moves every shard to the next node, and returns each node's p99 of the pauses, in ms.
func (g *group) handOffs(k kindSettings, quick bool) (pauses []float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, s, err := g.inspect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for n, p := range s.View.Types[shard.TypeName(k.Name)].Placements {
		if quick && n%4 != 0 {
			continue
		}
		from := slices.IndexFunc(g.all, func(m memberSettings) bool { return m.ID == p.Node })
		to := g.all[(from+1)%len(g.members)].ID
		for stage := ""; stage != "done"; {
			d, err := c.Move(ctx, p.Shard, to)
			if err != nil {
				return nil, fmt.Errorf("move %s to %s: %w", p.Shard, to, err)
			}
			stage = d.Stage
		}
	}
	for _, p := range g.members {
		var h struct {
			Count uint64
			P99   time.Duration
		}
		if err := (errand{}).run(p, "pauses", &h); err != nil {
			return nil, err
		}
		if h.Count > 0 {
			pauses = append(pauses, micros(h.P99)/1e3)
		}
	}
	return pauses, nil
}

// transfers hands the lead of the Raft group from member to member and returns what each took, in ms.
func (g *group) transfers(n int) (took []float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, s, err := g.inspect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	at := slices.IndexFunc(g.all, func(m memberSettings) bool { return m.ID == s.Leader })
	for i := range n {
		to := g.all[(at+1+i)%len(g.members)].ID
		began := time.Now()
		if _, err := c.TransferLead(ctx, to); err != nil {
			return nil, fmt.Errorf("transfer the lead to %s: %w", to, err)
		}
		took = append(took, micros(time.Since(began))/1e3)
	}
	return took, nil
}
