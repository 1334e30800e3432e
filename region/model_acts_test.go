package region_test

import (
	"context"
	"slices"
	"time"

	"muster/shard"
)

// disturb does one thing after the other to the group while orders are given, until the callers are over.
func (m *model) disturb(over <-chan struct{}) {
	acts := []func(){
		m.reboot, m.reboot, m.kill, m.kill, m.handOver, m.handOver, m.handOver, m.depose, m.depose, m.deafen, m.deafen, m.seal, m.cut, m.cut,
		m.isolate, m.replace, m.lapse, m.quickHandOver, m.wipe, m.wipe, m.fill, m.damageSync,
	}
	const between = 18 // orders
	for {
		if !m.progress(between, time.Second, over) {
			return
		}
		acts[m.random.IntN(len(acts))]()
		m.mend()
	}
}

// progress waits for so many orders, or for that long; false when the callers are over.
func (m *model) progress(orders int64, most time.Duration, over <-chan struct{}) bool {
	wanted := m.done.Load() + orders
	patience := time.NewTimer(most)
	defer patience.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.done.Load() < wanted {
		select {
		case <-over:
			return false
		case <-patience.C:
			return true
		case <-tick.C:
		}
	}
	return true
}

// holds waits until something holds, for that long.
func (m *model) holds(most time.Duration, holds func() bool) bool {
	patience := time.NewTimer(most)
	defer patience.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-patience.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

func (m *model) some() *node { return m.g.nodes[m.random.IntN(modelNodes)] }

// shardOf draws a durable shard.
func (m *model) shardOf() shard.ID {
	return shard.ID{Type: "durable", Number: shard.Number(m.random.Uint32N(m.durable.Spec().Shards))}
}

// addr is that of a node now, by the map.
func (m *model) addr(id shard.NodeID) string {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	return m.g.view.Members[id].Addr
}

// reboot restarts a node, or all of them, orderly.
func (m *model) reboot() {
	if m.random.IntN(4) == 0 {
		for i := range m.g.nodes {
			m.g.nodes[i].stop()
		}
		for i := range m.g.nodes {
			m.start(i)
		}
		return
	}
	m.restart(m.random.IntN(modelNodes), func() {
		if m.random.IntN(2) == 0 {
			m.progress(5, 300*time.Millisecond, nil)
		}
	})
}

// restart ends a node's life and begins another, after between.
func (m *model) restart(i int, between func()) {
	m.g.nodes[i].stop()
	if between != nil {
		between()
	}
	m.start(i)
}

func (m *model) start(i int) {
	n := m.g.nodes[i]
	old := n.Session()
	if m.armed.Load() || m.random.IntN(2) == 0 {
		n.options.SyncDelay = min(n.options.SyncDelay, m.delay())
	}
	n.start()
	m.lives[i].Store(&life{region: n.region})
	m.g.change(func(d *shard.Delta) { d.Ended = []shard.SessionID{old} })
}

// handOver has a shard's primary hand over to another copy, and takes the wish back when that takes long.
func (m *model) handOver() {
	id := m.shardOf()
	p := m.g.placement(id)
	c := p.Copies[m.random.IntN(len(p.Copies))]
	if c.ID == p.Primary || p.Status != shard.Active || c.State != shard.CopyReady {
		return
	}
	to := m.g.node(c.Node)
	m.g.wish(id, to)
	m.holds(1500*time.Millisecond, func() bool { return m.g.placement(id).Node == to.id })
	m.unwish(id)
}

// unwish takes back that a shard is to be handed over.
func (m *model) unwish(id shard.ID) {
	if p := m.g.placement(id); p.HandTo != 0 || p.HandNode != "" {
		m.g.edit(id, func(p *shard.Placement) { p.HandTo, p.HandNode = 0, "" })
	}
}

// depose has a shard begin another epoch though nothing is wrong.
func (m *model) depose() {
	id := m.shardOf()
	m.unwish(id)
	m.g.prefer(m.some())
	m.g.recover(id)
}

// seal makes one copy promise the next epoch, which nobody begins yet.
func (m *model) seal() {
	id := m.shardOf()
	p := m.g.placement(id)
	c := p.Copies[m.random.IntN(len(p.Copies))]
	ctx, cancel := shortly(context.Background(), time.Second)
	defer cancel()
	m.g.node(c.Node).region.Seal(ctx, []shard.SealItem{{Shard: id, Copy: c.ID, Epoch: p.Epoch + 1}})
	m.progress(3, 100*time.Millisecond, nil)
	m.want(id, p.Epoch)
}

// deafen lets a primary hear nothing of the coordinator, no Seal and no map, while another one is found: it goes on to take what it is
// asked until the other copies refuse it.
func (m *model) deafen() {
	id := m.shardOf()
	p := m.g.placement(id)
	n := m.g.node(p.Node)
	if p.Status != shard.Active || present(p, n) < p.RecoveryQuorum() {
		return
	}
	n.turn(false)
	m.g.recover(id)
	m.holds(time.Second, func() bool { return m.g.placement(id).Status == shard.Active })
	m.progress(25, 400*time.Millisecond, nil)
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	n.up = true
	n.region.Update(m.g.view)
}

// want has mend find another primary.
func (m *model) want(id shard.ID, e shard.Epoch) {
	m.wanted.Lock()
	defer m.wanted.Unlock()
	m.wanted.epochs[id] = max(m.wanted.epochs[id], e)
}

// cut ends the connections that a node has made.
func (m *model) cut() { m.some().wires.cut() }

// isolate lets a node make no connections for a while.
func (m *model) isolate() {
	n := m.some()
	n.wires.close(true)
	m.progress(20, time.Duration(50+m.random.IntN(700))*time.Millisecond, nil)
	n.wires.close(false)
}

// replace makes a copy where there is none, in the place of another or beside them.
func (m *model) replace() {
	id := m.shardOf()
	p := m.g.placement(id)
	on := m.spare(p)
	if on == nil || len(p.Learners) > 0 {
		return
	}
	var insteadOf *node
	if c := p.Copies[m.random.IntN(len(p.Copies))]; c.ID != p.Primary && m.random.IntN(2) == 0 {
		insteadOf = m.g.node(c.Node)
	}
	m.g.learn(id, on, insteadOf)
	m.holds(700*time.Millisecond, func() bool { return len(m.g.placement(id).Learners) == 0 })
}

// spare is a node without a copy of the shard, nil when there is none.
func (m *model) spare(p *shard.Placement) *node {
	for _, i := range m.random.Perm(modelNodes) {
		n := m.g.nodes[i]
		c, has := p.CopyOn(n.directory)
		learns := slices.ContainsFunc(p.Learners, func(l shard.Learner) bool { return l.Copy.Directory == n.directory })
		if (!has || c.State == shard.CopyLost) && !learns {
			return n
		}
	}
	return nil
}

// lapse lets a node's lease run out, at times so long ago that it confirms nothing.
func (m *model) lapse() {
	n := m.some()
	m.gaps.Add(1)
	n.lease.Store(int64(now() - []time.Duration{time.Millisecond, 2 * shard.Autonomy}[m.random.IntN(2)]))
	m.progress(10, 200*time.Millisecond, nil)
	n.lease.Store(int64(now() + forever))
	m.gaps.Add(1)
}

// quickHandOver has the volatile shard go to another node.
func (m *model) quickHandOver() {
	p := m.g.placement(one("quick"))
	to := m.some()
	if p.Status != shard.Active || p.Node == to.id {
		return
	}
	m.g.edit(one("quick"), func(p *shard.Placement) { p.HandNode = to.id })
	m.holds(1500*time.Millisecond, func() bool { return m.g.placement(one("quick")).Node == to.id })
	m.unwish(one("quick"))
}

// mend does what the coordinator's plan does: it finds primaries for shards that have none, or whose primary's process is gone or asks for
// another, and begins copies where some were left out.
func (m *model) mend() {
	for i := range m.durable.Spec().Shards {
		id := shard.ID{Type: "durable", Number: shard.Number(i)}
		m.unwish(id)
		for !m.led(id) {
			m.g.recover(id)
			m.g.await(id, shard.Active)
		}
		p := m.g.placement(id)
		if on := m.spare(p); on != nil && len(p.Learners) == 0 && present(p, nil) <= m.durable.Spec().Replicas {
			m.g.learn(id, on, nil)
		}
	}
	id := one("quick")
	m.unwish(id)
	if !m.led(id) {
		m.g.place(id, m.random.IntN(modelNodes))
		m.g.await(id, shard.Active)
	}
}

// led reports whether a shard has a primary that leads and wants to.
func (m *model) led(id shard.ID) bool {
	m.wanted.Lock()
	wanted := m.wanted.epochs[id]
	m.wanted.Unlock()
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	p := m.g.view.Placement(id)
	return p.Status == shard.Active && p.Epoch > wanted && p.Session == m.g.view.Members[p.Node].Session
}

// complete waits until each shard has the copies that it should have.
func (m *model) complete() {
	for i := range m.durable.Spec().Shards {
		id := shard.ID{Type: "durable", Number: shard.Number(i)}
		until(m.t, "all copies are there", func() bool {
			m.mend()
			p := m.g.placement(id)
			return len(p.Learners) == 0 && present(p, nil) > m.durable.Spec().Replicas && present(p, nil) == len(p.Copies)
		})
	}
}
