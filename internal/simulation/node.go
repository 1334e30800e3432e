package simulation

import (
	"fmt"
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// node is a machine: what survives its processes.
type node struct {
	w       *world
	id      shard.NodeID
	zone    string
	drift   float64 // its clock runs so much too fast
	offset  time.Duration
	disk    *disk
	kept    shard.Index // what its own Raft store shows right after a start
	lives   int
	wipes   int
	paused  time.Duration // until when nothing of it runs
	absent  bool          // it has not joined yet, or was removed: nothing starts it by chance
	leaving bool          // it is about to be removed

	process *process // nil while it is down
}

func (n *node) addr() string { return string(n.id) + ":1" }

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
	session session
	leads   *leadership // nil while it does not believe so

	custody
	heard    map[*node]*replication.Hearing
	asked    int // signs of life
	volatile map[shard.ID]*reign
	sends    []*send // commands given to this process
	numbers  uint64  // of commands and of calls to barriers
	stopping bool    // it takes no new commands
	stopped  bool    // it serves nothing
}

// noted is when a voter stored a renewal, on its own clock.
type noted struct {
	at     time.Duration
	number uint64
}

// start begins a process.
func (n *node) start() {
	if n.process != nil || n.absent {
		return
	}
	n.lives++
	p := &process{
		n: n, started: n.local(), renewed: map[shard.SessionID]noted{}, custody: custody{shown: map[shard.ID]*shard.Placement{}},
		volatile: map[shard.ID]*reign{}, heard: map[*node]*replication.Hearing{},
	}
	n.process = p
	n.w.log("%s: process %d starts", n.id, n.lives)
	p.applied = n.kept - min(n.kept, shard.Index(n.w.dice.IntN(10)))
	p.view = n.w.raft.states[p.applied].View
	p.open()
	p.every(replicationTick, always(p.tick))
	p.every(200*time.Millisecond, always(p.reports))
	p.register()
	p.update()
	p.after(n.w.between(0, time.Second), p.meet)
}

// crash ends the process at once.
func (n *node) crash() {
	p := n.process
	if p == nil {
		return
	}
	n.w.log("%s: process %d ends", n.id, n.lives)
	n.kept, n.process, n.paused = p.applied, nil, 0
	n.disk.crash(n.w)
	for _, s := range slices.Clone(p.sends) {
		s.end(answer{fault: shard.Unknownf(shard.CodeClosed, "its node is gone")})
	}
}

// wipe replaces the data directory by an empty one. The node must be down.
func (n *node) wipe() {
	n.w.log("%s: its directory is wiped", n.id)
	n.wipes++
	n.kept = 0
	n.disk.lose()
	n.disk = newDisk(n)
}

func newDisk(n *node) *disk {
	return &disk{directory: shard.DirectoryID(fmt.Sprintf("%s-%d", n.id, n.wipes))}
}

// after plans something for when the process's own clock has moved on by d, if it still lives.
func (p *process) after(d time.Duration, run func()) {
	p.n.w.plan(time.Duration(float64(d)/(1+p.n.drift)), p, run)
}

// later runs something in this process: now, when its pause is over, or never when it has died by then.
func (p *process) later(run func()) {
	if p.n.process != p {
		return
	}
	if p.n.w.now >= p.n.paused {
		run()
		return
	}
	p.n.w.plan(p.n.paused-p.n.w.now, p, run)
}

// every repeats something for as long as it says so, the first time after a random part of d.
func (p *process) every(d time.Duration, run func() bool) {
	var again func()
	again = func() {
		if run() {
			p.after(d, again)
		}
	}
	p.after(p.n.w.between(0, d), again)
}

func always(run func()) func() bool {
	return func() bool {
		run()
		return true
	}
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

// adopted is the session under which this process acts, 0 while it has none.
func (p *process) adopted() shard.SessionID {
	if !p.session.stored {
		return 0
	}
	return p.session.id
}

// node returns the node of that name.
func (w *world) node(id shard.NodeID) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })
	return w.nodes[i]
}
