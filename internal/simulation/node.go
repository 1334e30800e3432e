package simulation

import (
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// node is a machine: what survives its processes.
type node struct {
	w      *world
	id     shard.NodeID
	voter  bool
	zone   string
	drift  float64 // its clock runs so much too fast
	offset time.Duration
	disk   *disk
	kept   shard.Index // what its own Raft store shows right after a start
	lives  int
	paused time.Duration // until when nothing of it runs

	process *process // nil while it is down
}

// local is the node's clock.
func (n *node) local() time.Duration {
	return n.offset + n.w.now + time.Duration(float64(n.w.now)*n.drift)
}

// process is one life of a node.
type process struct {
	n       *node
	started time.Duration // on its own clock
	applied shard.Index
	view    *shard.View
	renewed map[shard.SessionID]noted
	hosts   []*host // by copy id
	session session
	leads   *leadership // nil while it does not believe so
}

// noted is when a voter stored a renewal, on its own clock.
type noted struct {
	at     time.Duration
	number uint64
}

// leadership is the driver of a process that leads, or believes it does.
type leadership struct {
	driver *plan.Driver
	since  time.Duration
}

// start begins a process.
func (n *node) start() {
	if n.process != nil {
		return
	}
	n.lives++
	p := &process{n: n, started: n.local(), renewed: map[shard.SessionID]noted{}}
	n.process = p
	n.w.log("%s: process %d starts", n.id, n.lives)
	p.applied = n.kept - min(n.kept, shard.Index(n.w.dice.IntN(10)))
	p.view = n.w.raft.states[p.applied].View
	for _, s := range n.disk.copies {
		p.hosts = append(p.hosts, openHost(p, s))
	}
	p.every(100*time.Millisecond, p.tick)
	p.every(40*time.Millisecond, p.plan)
	p.every(200*time.Millisecond, p.reports)
	p.register()
}

// crash ends the process at once.
func (n *node) crash() {
	if n.process == nil {
		return
	}
	n.w.log("%s: crashes", n.id)
	n.kept, n.process, n.paused = n.process.applied, nil, 0
	n.disk.crash(n.w)
}

// wipe replaces the data directory by an empty one. The node must be down.
func (n *node) wipe() {
	n.w.log("%s: its directory is wiped", n.id)
	n.kept = 0
	n.disk = &disk{directory: shard.DirectoryID(string(n.id) + "-" + string(rune('a'+n.lives%26)) + "-" + time.Duration(n.lives).String())}
}

// after plans something for when the process's own clock has moved on by d, if it still lives.
func (p *process) after(d time.Duration, run func()) {
	p.n.w.after(time.Duration(float64(d)/(1+p.n.drift)), func() {
		p.later(run)
	})
}

// later runs something in this process: now, when its pause is over, or never when it has died by then.
func (p *process) later(run func()) {
	if p.n.process != p {
		return
	}
	p.n.receive(func(alive *process) {
		if alive == p {
			run()
		}
	})
}

// every repeats something, the first time after a random part of d.
func (p *process) every(d time.Duration, run func()) {
	var again func()
	again = func() {
		run()
		p.after(d, again)
	}
	p.after(p.n.w.between(0, d), again)
}

// advance applies entries up to index: it notes renewals, and shows the new map to whoever cares.
func (p *process) advance(index shard.Index) {
	if p.n.process != p || index <= p.applied {
		return
	}
	r := p.n.w.raft
	for p.applied < index {
		p.applied++
		for _, x := range r.renewed[p.applied] {
			p.renewed[x.session] = noted{p.n.local(), x.number}
		}
	}
	p.view = r.states[p.applied].View
	p.update()
}

// lead begins a leadership. The leader has applied everything that was committed before.
func (p *process) lead() {
	p.advance(p.n.w.raft.committed())
	p.leads = &leadership{driver: plan.NewDriver(), since: p.n.local()}
	if p.view.Group == "" {
		genesis := &fsm.Genesis{Group: "simulated"}
		for _, n := range p.n.w.nodes {
			if n.voter {
				genesis.Voters = append(genesis.Voters, fsm.Founder{Node: n.id, Addr: string(n.id) + ":1", Directory: n.disk.directory})
			}
		}
		p.n.w.raft.propose(p, ignored, genesis)
	}
}

func ignored([]fsm.Verdict, shard.Index) {}

func (p *process) resign() {
	if p.n.w.raft.leader != p {
		p.leads = nil
	}
}

// plan is the leader's loop.
func (p *process) plan() {
	if p.leads == nil {
		return
	}
	steps := p.leads.driver.Next(plan.Input{
		Now: p.n.local(), State: p.n.w.raft.states[p.applied], LeaderSince: p.leads.since, Renewed: p.renewal,
	})
	for _, s := range steps {
		if s.Command != nil {
			p.n.w.raft.propose(p, ignored, s.Command)
			for _, note := range s.Notes {
				p.n.w.log("%s: plans %s %s", p.n.id, fsm.NameOf(s.Command), note)
			}
		}
		if s.Node != "" {
			p.askToSeal(s.Node, s.Seal)
		}
	}
}

func (p *process) renewal(id shard.SessionID) (time.Duration, uint64) {
	if r, known := p.renewed[id]; known {
		return r.at, r.number
	}
	number, _ := p.n.w.raft.states[p.applied].Renewal(id)
	return p.started, number
}

// askToSeal sends Seals to a node, whose answers come back to this process or to nobody.
func (p *process) askToSeal(id shard.NodeID, items []shard.SealItem) {
	to := p.n.w.node(id)
	p.n.w.send(p.n, to, func(q *process) {
		for _, i := range items {
			q.seal(i, func(s shard.Sealed) {
				p.n.w.send(q.n, p.n, func(now *process) {
					if now == p && p.leads != nil {
						p.leads.driver.Sealed(s)
					}
				})
			})
		}
	})
}

// tellLeader sends something to the process that a node thinks leads: here, the one that does.
func (p *process) tellLeader(what func(*process)) {
	leader := p.n.w.raft.leader
	if leader == nil {
		return
	}
	p.n.w.send(p.n, leader.n, func(q *process) {
		if q.leads != nil {
			what(q)
		}
	})
}

// report tells the leader what a copy is up to.
func (p *process) report(r shard.Report) {
	directory := p.n.disk.directory
	item := []fsm.CopyItem{{Shard: r.Shard, Copy: r.Copy, Directory: directory}}
	p.tellLeader(func(q *process) {
		switch r.Kind {
		case shard.ReportReady:
			q.n.w.raft.propose(q, ignored, &fsm.CopyReady{Items: item})
		case shard.ReportLost:
			q.n.w.raft.propose(q, ignored, &fsm.CopyLost{Items: item})
		default:
			q.leads.driver.Report(r)
		}
	})
}

// node returns the node of that name.
func (w *world) node(id shard.NodeID) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })
	return w.nodes[i]
}
