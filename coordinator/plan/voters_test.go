package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"muster/coordinator/plan"
	"muster/shard"
)

// poll is a group's voters under test: a map, Raft's configuration, and a leader, n1, that looks every 50 ms and carries out
// what it finds. The lines under `voters` are:
//
//	found NODE…           these form the group: up, with a vote
//	up NODE [zone=Z] [addr=A]    the node's session is live, in the directory it has
//	wiped NODE [addr=A]   likewise, with another directory
//	down NODE…            its session is over          removed NODE   likewise, and an operator removed it: it runs on until it has no seat
//	maintenance NODE…, cordon NODE…
//	silent NODE…          does not renew its session any more; heard NODE… it does
//	stuck NODE…           does not catch up as a newcomer, which others do in 150 ms
//	wait DURATION         steps are printed when they are new
//	seats                 Raft's configuration        explain         why each is as it is
//	lead down=DURATION    another leads, and the log says that whoever is down has been for so long
type poll struct {
	w        *world
	now      time.Duration
	view     *shard.View
	sessions shard.SessionID
	seats    []plan.Seat
	leads    *plan.Electorate
	wipes    int
	stuck    map[shard.NodeID]bool
	silent   map[shard.NodeID]bool
	renewed  map[shard.SessionID]time.Duration
	since    time.Duration // when the leader began
	asked    map[shard.DirectoryID]time.Duration
	said     map[string]bool
	down     time.Duration // how long everybody who is down was down when the leader began
}

func runVoters(w *world, d *datadriven.TestData) string {
	p := &poll{
		w: w, now: time.Minute, view: shard.NewView(), leads: plan.NewElectorate(time.Second, time.Second, 100*time.Millisecond),
		stuck: map[shard.NodeID]bool{}, silent: map[shard.NodeID]bool{},
		renewed: map[shard.SessionID]time.Duration{}, since: time.Minute, asked: map[shard.DirectoryID]time.Duration{}, said: map[string]bool{},
	}
	p.view.Group = "g"
	for line := range strings.Lines(d.Input) {
		if f := strings.Fields(line); len(f) > 0 {
			p.line(f)
		}
	}
	out := w.out.String()
	w.out.Reset()
	return out
}

func (p *poll) line(f []string) {
	words, set := options(f[1:])
	each := func(change func(*shard.Member)) {
		for _, id := range words {
			m := p.view.Members[shard.NodeID(id)]
			change(&m)
			p.view.Members[shard.NodeID(id)] = m
		}
	}
	p.said = map[string]bool{}
	switch f[0] {
	case "found":
		for _, id := range words {
			m := p.come(id, id+"1", nil)
			m.Voter = true
			p.view.Members[m.ID] = m
			p.seats = append(p.seats, plan.Seat{Node: m.ID, Directory: m.Directory, Addr: m.Addr, Voter: true})
		}
	case "up":
		old := p.view.Members[shard.NodeID(words[0])]
		directory := words[0] + "1"
		if old.ID != "" {
			directory = string(old.Directory)
		}
		p.come(words[0], directory, set)
	case "wiped":
		p.wipes++
		p.come(words[0], fmt.Sprintf("%s%d", words[0], p.wipes+1), set)
	case "down":
		each(func(m *shard.Member) { delete(p.view.Sessions, m.Session) })
	case "removed":
		each(func(m *shard.Member) { delete(p.view.Sessions, m.Session) })
		delete(p.view.Members, shard.NodeID(words[0]))
	case "maintenance":
		each(func(m *shard.Member) { m.Maintenance = true })
	case "cordon":
		each(func(m *shard.Member) { m.Cordoned = true })
	case "silent", "heard":
		for _, id := range words {
			p.silent[shard.NodeID(id)] = f[0] == "silent"
		}
	case "stuck":
		p.stuck[shard.NodeID(words[0])] = true
	case "wait":
		p.wait(words[0])
	case "seats":
		p.show()
	case "explain":
		p.w.lines(p.leads.Explain(p.input()))
	case "lead": // another leader, to whom the log says since when the named are down
		p.leads = plan.NewElectorate(time.Second, time.Second, 100*time.Millisecond)
		d, err := time.ParseDuration(set["down"])
		if err != nil {
			p.w.t.Fatal(err)
		}
		p.down, p.since = d, p.now
	default:
		p.w.t.Fatalf("there is no verb %q", f[0])
	}
}

func (p *poll) come(id, directory string, set map[string]string) shard.Member {
	old := p.view.Members[shard.NodeID(id)]
	delete(p.view.Sessions, old.Session)
	p.sessions++
	m := shard.Member{
		ID: shard.NodeID(id), Addr: id + ":1", Directory: shard.DirectoryID(directory), Session: p.sessions, Zone: set["zone"],
		Voter: old.Voter && old.Directory == shard.DirectoryID(directory),
	}
	if set["addr"] != "" {
		m.Addr = set["addr"]
	}
	p.view.Members[m.ID] = m
	p.view.Sessions[m.Session] = shard.Session{ID: m.Session, Node: m.ID, Directory: m.Directory}
	return m
}

func (p *poll) wait(length string) {
	d, err := time.ParseDuration(length)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for end := p.now + d; p.now < end; p.now += 50 * time.Millisecond {
		p.renew()
		steps := p.leads.Next(p.input())
		for _, s := range steps {
			if line := s.String(); !p.said[line] {
				p.said[line] = true
				fmt.Fprintf(&p.w.out, "%6.2fs %s\n", (p.now - time.Minute).Seconds(), line)
			}
			p.do(s)
		}
		p.check()
	}
}

func (p *poll) renew() {
	for id, session := range p.view.Sessions {
		if !p.silent[session.Node] {
			p.renewed[id] = p.now
		}
	}
}

func (p *poll) input() plan.VotersInput {
	return plan.VotersInput{
		Now: p.now, View: p.view, Leader: "n1", Seats: slices.Clone(p.seats), CaughtUp: p.caughtUp,
		DownFor:     func(shard.NodeID) time.Duration { return p.down },
		LeaderSince: p.since,
		Renewed:     func(id shard.SessionID) (time.Duration, uint64) { return p.renewed[id], 0 },
	}
}

func (p *poll) caughtUp(s plan.Seat) bool {
	since, asked := p.asked[s.Directory]
	return asked && p.now >= since+150*time.Millisecond && !p.stuck[s.Node]
}

func (p *poll) do(s plan.VoterStep) {
	at := slices.IndexFunc(p.seats, func(x plan.Seat) bool { return x.Node == s.Seat.Node && x.Directory == s.Seat.Directory })
	m := p.view.Members[s.Seat.Node]
	switch s.Action {
	case plan.AddNewcomer:
		p.seats = append(p.seats, s.Seat)
	case plan.Promote:
		p.seats[at].Voter, m.Voter = true, true
		p.view.Members[m.ID] = m
	case plan.Dismiss:
		p.seats = slices.Delete(p.seats, at, at+1)
		delete(p.asked, s.Seat.Directory)
	case plan.Readdress:
		p.seats[at].Addr = s.Seat.Addr
	case plan.AskToLeave:
		m.Voter = false
		p.view.Members[m.ID] = m
	case plan.AskToSit:
		if _, asked := p.asked[s.Seat.Directory]; !asked {
			p.asked[s.Seat.Directory] = p.now
		}
	}
}

// check holds after every step, in every script: Raft would take the configuration, a quorum of it is up, and at most one
// server has no vote.
func (p *poll) check() {
	addrs, voters, up := map[string]bool{}, 0, 0
	for _, s := range p.seats {
		if addrs[s.Addr] {
			p.w.t.Errorf("two servers at %s", s.Addr)
		}
		addrs[s.Addr] = true
		if m, member := p.view.Members[s.Node]; s.Voter {
			voters++
			if !p.silent[s.Node] && (!member || m.Directory == s.Directory && p.view.Up(s.Node)) { // one that is removed votes on for a while
				up++
			}
		}
	}
	if len(p.seats) > voters+1 || up < voters/2+1 {
		p.w.t.Errorf("%d of %d voters are up, with %d servers", up, voters, len(p.seats))
	}
}

func (p *poll) show() {
	slices.SortFunc(p.seats, func(a, b plan.Seat) int { return strings.Compare(a.String(), b.String()) })
	for _, s := range p.seats {
		fmt.Fprintf(&p.w.out, "%s at %s, voter %t\n", s, s.Addr, s.Voter)
	}
	for _, id := range slices.Sorted(maps.Keys(p.view.Members)) {
		if m := p.view.Members[id]; m.Voter && !slices.ContainsFunc(p.seats, func(s plan.Seat) bool { return s.Node == id }) {
			fmt.Fprintf(&p.w.out, "%s runs Raft without a seat\n", id)
		}
	}
}
