package simulation

import (
	"maps"
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/replication"
	"muster/shard"
)

// How often things are looked at when nothing happens.
const (
	replicationTick = replication.TickInterval
	tendEvery       = 250 * time.Millisecond
)

// leadership is what a process that leads, or believes it does, keeps in mind.
type leadership struct {
	driver   *plan.Driver
	electors *plan.Electorate
	caughtUp map[shard.DirectoryID]bool
	calls    map[shard.DirectoryID]int // how often each was told about its seat
	since    time.Duration
	renewals []gathered // for the next entry of renewals
}

// lead begins a leadership. The leader has applied everything that was committed before.
func (p *process) lead() {
	w := p.n.w
	p.advance(w.raft.committed())
	p.leads = &leadership{
		driver: plan.NewDriver(), electors: plan.NewElectorate(w.setup.replaceVoter, 5*time.Second, w.setup.times.Grace),
		caughtUp: map[shard.DirectoryID]bool{}, calls: map[shard.DirectoryID]int{},
		since: p.n.local() + 1, // what the last leader left in the log is older
	}
	p.leads.driver.Times = w.setup.times
	p.leads.driver.Times.Lease, p.leads.driver.Times.Autonomy = p.n.lengths().Lease, p.n.lengths().Autonomy
	p.whileLeading(w.setup.plan, p.plan)
	p.whileLeading(tendEvery, p.tend)
	p.whileLeading(time.Second, p.lift)
	p.leads.driver.Budget = w.setup.budget
	if p.view.Group == "" {
		genesis := &fsm.Genesis{Group: "simulated"}
		for _, s := range w.raft.seats {
			genesis.Voters = append(genesis.Voters, fsm.Founder{Node: s.Node, Addr: s.Addr, Directory: s.Directory})
		}
		w.raft.propose(p, ignored, genesis)
	}
}

// whileLeading repeats something for as long as this leadership lasts.
func (p *process) whileLeading(d time.Duration, run func()) {
	l := p.leads
	p.every(d, func() bool {
		if p.leads == l {
			run()
		}
		return p.leads == l
	})
}

func ignored([]fsm.Verdict, shard.Index) {}

func (p *process) resign() {
	if p.n.w.raft.leader != p {
		p.leads = nil
	}
}

// plan is the leader's loop.
func (p *process) plan() {
	w := p.n.w
	for _, s := range p.leads.driver.Next(p.input()) {
		if s.Command != nil {
			w.raft.propose(p, ignored, s.Command)
			w.planned(s.Command)
			for _, note := range s.Notes {
				w.log("%s: plans %s %s", p.n.id, fsm.NameOf(s.Command), note)
			}
		}
		if s.Node != "" {
			p.askToSeal(s.Node, s.Seal)
		}
	}
}

// lift ends what operators had set for some time only.
func (p *process) lift() {
	for _, c := range plan.Ended(p.view, p.n.w.wall(p.n)) {
		p.n.w.counts.Lifted++
		p.n.w.raft.propose(p, ignored, c)
	}
}

func (p *process) input() plan.Input {
	return plan.Input{Now: p.n.local(), State: p.n.w.raft.states[p.applied], LeaderSince: p.leads.since, Renewed: p.renewal, Reads: fsm.Version}
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
	answered := func(q *process, s shard.Sealed) {
		p.n.w.send(q.n, p.n, func(now *process) {
			if now == p && p.leads != nil {
				p.leads.driver.Sealed(s)
			}
		})
	}
	p.n.w.send(p.n, to, func(q *process) {
		q.admitted(func() {
			for _, i := range items {
				q.seal(i, func(s shard.Sealed) { answered(q, s) })
			}
		})
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

// ask sends a command to the leader and brings its verdict back, unless either is lost.
func (p *process) ask(c fsm.Command, answered func(fsm.Verdict, shard.Index)) {
	p.tellLeader(func(q *process) {
		q.n.w.raft.propose(q, func(v []fsm.Verdict, index shard.Index) {
			q.n.w.send(q.n, p.n, func(now *process) {
				if now == p {
					answered(v[0], index)
				}
			})
		}, c)
	})
}

// report tells the leader what a copy is up to. In some runs it may come late, or once more.
func (p *process) report(r shard.Report) {
	w := p.n.w
	if !w.healed && w.chance(w.swarm.dawdle) {
		from := p.adopted()
		w.after(w.between(0, dawdling), func() {
			if p.n.process == p && p.adopted() == from {
				p.post(r)
			}
		})
		if w.chance(0.5) {
			return
		}
	}
	p.post(r)
}

// dawdling is how long a report may take when it is late.
const dawdling = 2 * latest

func (p *process) post(r shard.Report) {
	if r.Kind == shard.ReportReady && r.Copy == p.hushed {
		return
	}
	from := plan.Reporter{Directory: p.n.disk.directory, Session: p.adopted()}
	p.tellLeader(func(q *process) {
		news, err := plan.Sort(q.view, from, []shard.Report{r}, q.n.w.swarm.heir)
		if err != nil {
			q.n.w.fail("%s reports %+v: %v", p.n.id, r, err)
		}
		for _, fact := range news.Facts {
			q.leads.driver.Report(fact)
		}
		if len(news.Commands) > 0 {
			q.n.w.raft.propose(q, ignored, news.Commands...)
		}
	})
}

// tend has the plan decide about the voters and does one thing at a time.
func (p *process) tend() {
	r := p.n.w.raft
	maps.DeleteFunc(p.leads.caughtUp, func(d shard.DirectoryID, _ bool) bool {
		return !slices.ContainsFunc(r.seats, func(s plan.Seat) bool { return s.Directory == d })
	})
	steps := p.leads.electors.Next(plan.VotersInput{
		Now: p.n.local(), View: p.view, Leader: p.n.id, Seats: r.seats,
		CaughtUp: func(s plan.Seat) bool { return p.leads.caughtUp[s.Directory] }, LeaderSince: p.leads.since, Renewed: p.renewal,
	})
	for _, s := range steps {
		switch s.Action {
		case plan.AskToSit, plan.AskToLeave:
			p.askSeat(s)
		case plan.LeaveAsIs:
		default:
			r.reseat(p, s)
		}
	}
}

// askSeat tells a member that it has a seat, or has none any more, and hears how far it is. What counts is the answer to the newest call.
func (p *process) askSeat(s plan.VoterStep) {
	w, to, applied := p.n.w, p.n.w.node(s.Seat.Node), p.applied
	l := p.leads
	l.calls[s.Seat.Directory]++
	call := l.calls[s.Seat.Directory]
	w.send(p.n, to, func(q *process) {
		if q.n.disk.directory != s.Seat.Directory {
			return
		}
		votes := s.Action == plan.AskToSit
		if q.n.disk.votes != votes {
			q.n.disk.votes = votes
			q.declare()
		}
		reached := votes && q.applied >= applied
		w.send(q.n, p.n, func(now *process) {
			if now == p && p.leads == l && l.calls[s.Seat.Directory] == call {
				l.caughtUp[s.Seat.Directory] = reached
			}
		})
	})
}
