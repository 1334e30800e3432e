package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// TestScripts runs the stories in testdata/plan: a group's state, its leader's driver, and nodes that answer at once
// unless a script says otherwise. Everything but the nodes is real.
//
// Each script opens with what it shows. Under `run` the lines are:
//
//	type NAME shards=N [replicas=N] [acks=N] [role=R] [volatile] [lossy=DURATION]    nodes that come up from now on host it
//	found NODE…            the voters of the group
//	up NODE… [zone=Z] [roles=R,S] [lease=D autonomy=D]   a process starts, or starts again: a new session, which says these lengths
//	wiped NODE             likewise, with an empty data directory
//	silent NODE…           stops renewing, answering and reporting      mute NODE…   answers no Seal
//	stuck NODE…            creates and establishes nothing              well NODE…   none of these any more
//	depart NODE            says good-bye
//	log SHARD NODE LSN@EPOCH [led] [confirmed=LSN]  what the node's copy will answer to a Seal; led: that it led before
//	evidence SHARD         what is known of one that does not recover        recover SHARD  one copy goes on alone, or nothing does
//	degrade SHARD          an operator lets it write to one copy
//	lost SHARD NODE        the node finds its copy's data rotten
//	gaveup SHARD           the primary reports that it cannot go on
//	lead                   another voter becomes leader now: a new driver
//	wait DURATION          the leader looks every 50 ms and carries out what it finds; new reasons are printed once
//	stall DURATION         all stand still for so long, the leader and the nodes; then the leader is the first to go on
//	leave NODE             its process says that it is about to stop
//	mark NODE WORD…        cordoned, draining, maintenance; open lifts all three
//	budget LEARNERS        copies that are made at once
//	pause, resume          balancing            pin SHARD [NODE]   evict SHARD NODE  the primary puts the copy out of C
//	remove NODE…
//	slow NODE…             its learners never catch up    cling NODE…   its primaries do not hand over; hang: nor say so
//	show SHARD…, explain SHARD, candidates SHARD, spread TYPE, plan, whatif NODE…, stays NODE
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../../testdata/plan", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			if d.Cmd == "voters" {
				return runVoters(w, d)
			}
			for line := range strings.Lines(d.Input) {
				w.line(strings.Fields(line))
			}
			out := w.out.String()
			w.out.Reset()
			return out
		})
	})
}

// world is a group under test.
type world struct {
	t       *testing.T
	out     strings.Builder
	now     time.Duration
	state   *fsm.State
	driver  *plan.Driver
	led     time.Duration // since when
	specs   []shard.Spec
	nodes   map[shard.NodeID]*node
	renewed map[shard.SessionID]time.Duration
	logs    map[shard.CopyID]shard.Sealed
	said    map[string]string // the last skip printed, by shard
}

type node struct {
	directory           shard.DirectoryID
	machine             shard.MachineID
	zone                string
	roles               []string
	starts, wipes       int
	session             shard.SessionID
	renewals            uint64
	lengths             fsm.Lengths // none: it is of an earlier build
	silent, mute, stuck bool
	slow, cling, hang   bool
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, now: time.Minute, led: time.Minute, state: fsm.New(), driver: plan.NewDriver(),
		nodes: map[shard.NodeID]*node{}, renewed: map[shard.SessionID]time.Duration{},
		logs: map[shard.CopyID]shard.Sealed{}, said: map[string]string{},
	}
}

func (w *world) line(f []string) {
	w.t.Helper()
	verbs := map[string]func([]string){
		"type": w.define, "found": w.found, "up": w.up, "wiped": w.wiped, "depart": w.depart, "log": w.log, "lost": w.lost,
		"gaveup": w.gaveUp, "lead": w.lead, "wait": w.wait, "stall": w.stall, "show": w.show, "explain": w.explain, "spread": w.spread,
		"silent": w.set(func(n *node) { n.silent = true }), "mute": w.set(func(n *node) { n.mute = true }),
		"stuck": w.set(func(n *node) { n.stuck = true }),
		"well": w.set(func(n *node) {
			n.silent, n.mute, n.stuck, n.slow, n.cling, n.hang = false, false, false, false, false, false
		}),
		"slow": w.set(func(n *node) { n.slow = true }), "cling": w.set(func(n *node) { n.cling = true }),
		"hang": w.set(func(n *node) { n.hang = true }), "leave": w.leave, "mark": w.mark, "pin": w.pin, "evict": w.evict,
		"budget":   func(f []string) { w.driver.Budget.Learners = w.number(f[0]) },
		"pause":    func([]string) { w.apply(&fsm.Pause{On: true}) },
		"resume":   func([]string) { w.apply(&fsm.Pause{}) },
		"degrade":  func(f []string) { w.degrade(f[0]) },
		"evidence": func(f []string) { w.evidence(f[0]) }, "recover": w.recover,
		"remove": w.remove, "drained": w.drained, "plan": w.plan, "whatif": w.whatIf, "candidates": w.candidates,
	}
	if len(f) == 0 {
		return
	}
	verb, known := verbs[f[0]]
	if !known {
		w.t.Fatalf("there is no verb %q", f[0])
	}
	verb(f[1:])
}

// options splits words into plain ones and KEY=VALUE ones.
func options(f []string) (plain []string, set map[string]string) {
	set = map[string]string{}
	for _, s := range f {
		if key, value, found := strings.Cut(s, "="); found {
			set[key] = value
		} else {
			plain = append(plain, s)
		}
	}
	return plain, set
}

func (w *world) number(s string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) define(f []string) {
	plain, set := options(f)
	w.specs = append(w.specs, shard.Spec{
		Name: shard.TypeName(plain[0]), Shards: uint32(w.number(set["shards"])), Replicas: w.number(set["replicas"]),
		MinAcks: w.number(set["acks"]), AckTimeout: shard.DefaultAckTimeout, Volatile: slices.Contains(plain, "volatile"), Role: set["role"],
		Strategy: shard.Strategy(set["strategy"]), LossyAfter: w.duration(set["lossy"]),
	})
}

func (w *world) found(f []string) {
	c := &fsm.Genesis{Group: "g"}
	for _, id := range f {
		n := w.node(id)
		c.Voters = append(c.Voters, fsm.Founder{Node: shard.NodeID(id), Addr: id + ":1", Directory: n.directory})
	}
	w.apply(c, &fsm.RaiseVersion{To: fsm.Version})
}

func (w *world) node(id string) *node {
	n := w.nodes[shard.NodeID(id)]
	if n == nil {
		n = &node{directory: shard.DirectoryID("dir-" + id), machine: "m"}
		w.nodes[shard.NodeID(id)] = n
	}
	return n
}

func (w *world) set(change func(*node)) func([]string) {
	return func(f []string) {
		for _, id := range f {
			change(w.node(id))
		}
	}
}

func (w *world) up(f []string) {
	ids, set := options(f)
	for _, id := range ids {
		n := w.node(id)
		if set["zone"] != "" {
			n.zone = set["zone"]
		}
		if set["roles"] != "" {
			n.roles = strings.Split(set["roles"], ",")
		}
		if set["machine"] != "" {
			n.machine = shard.MachineID(set["machine"])
		}
		n.lengths = fsm.Lengths{Lease: w.duration(set["lease"]), Autonomy: w.duration(set["autonomy"])}
		w.start(id, n)
	}
}

func (w *world) start(id string, n *node) {
	n.starts++
	n.silent, n.mute, n.stuck, n.slow, n.cling, n.hang, n.renewals = false, false, false, false, false, false, 0
	verdicts := w.apply(&fsm.Register{
		Node: shard.NodeID(id), Directory: n.directory, Machine: n.machine, Addr: id + ":1", Zone: n.zone, Roles: n.roles, Hosts: w.specs,
		Nonce: fmt.Sprintf("%s-%d", id, n.starts), LastSession: n.session, Voter: w.state.View.Members[shard.NodeID(id)].Voter, Fenced: true,
	})
	if verdicts[0].Fault == nil {
		n.session = verdicts[0].Session
		w.renewed[n.session] = w.now
	}
}

func (w *world) wiped(f []string) {
	n := w.node(f[0])
	n.wipes++
	n.directory, n.session = shard.DirectoryID(fmt.Sprintf("dir-%s-%d", f[0], n.wipes)), 0
	w.start(f[0], n)
}

func (w *world) depart(f []string) {
	w.apply(&fsm.Depart{Session: w.node(f[0]).session})
	w.node(f[0]).silent = true
}

func (w *world) shard(s string) *shard.Placement {
	id, err := shard.ParseID(s)
	if err != nil {
		w.t.Fatal(err)
	}
	p := w.state.View.Placement(id)
	if p == nil {
		w.t.Fatalf("%s is not placed", s)
	}
	return p
}

func (w *world) copyOn(p *shard.Placement, id string) shard.Copy {
	i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return string(c.Node) == id })
	if i < 0 {
		w.t.Fatalf("%s has no copy on %s", p.Shard, id)
	}
	return p.Copies[i]
}

func (w *world) log(f []string) {
	c := w.copyOn(w.shard(f[0]), f[1])
	lsn, epoch, _ := strings.Cut(f[2], "@")
	w.logs[c.ID] = shard.Sealed{
		Last: shard.Position{Epoch: shard.Epoch(w.number(epoch)), LSN: shard.LSN(w.number(lsn))}, Led: slices.Contains(f, "led"),
	}
	_, set := options(f)
	s := w.logs[c.ID]
	s.Confirmed = shard.LSN(w.number(set["confirmed"]))
	w.logs[c.ID] = s
}

func (w *world) lost(f []string) {
	p := w.shard(f[0])
	c := w.copyOn(p, f[1])
	w.apply(&fsm.CopyLost{Items: []fsm.CopyItem{{Shard: p.Shard, Copy: c.ID, Directory: c.Directory}}})
}

func (w *world) gaveUp(f []string) {
	p := w.shard(f[0])
	w.driver.Report(shard.Report{Kind: shard.ReportRecover, Shard: p.Shard, Copy: p.Primary, Epoch: p.Epoch, Version: p.Version})
}

func (w *world) lead([]string) { w.driver, w.led = plan.NewDriver(), w.now }

func (w *world) wait(f []string) {
	d, err := time.ParseDuration(f[0])
	if err != nil {
		w.t.Fatal(err)
	}
	const look = 50 * time.Millisecond
	for end := w.now + d; w.now < end; w.now += look {
		w.live()
		w.look()
	}
}

func (w *world) look() {
	for _, s := range w.driver.Next(w.input()) {
		w.take(s)
	}
}

func (w *world) stall(f []string) {
	w.now += w.duration(f[0])
	w.look()
}

func (w *world) input() plan.Input {
	return plan.Input{Reads: fsm.Version, Now: w.now, State: w.state, LeaderSince: w.led, Renewed: func(id shard.SessionID) (time.Duration, uint64) {
		number, _ := w.state.Renewal(id)
		return w.renewed[id], number
	}}
}

// live is what nodes do by themselves: renew, create copies, report that they are established.
func (w *world) live() {
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		n := w.nodes[id]
		if n.silent || w.state.View.Ended(n.session) {
			continue
		}
		if w.now >= w.renewed[n.session]+400*time.Millisecond {
			n.renewals++
			w.apply(&fsm.Renew{Items: []fsm.Renewal{{Session: n.session, Number: n.renewals, Lengths: n.lengths}}, Time: w.now.Milliseconds()})
			w.renewed[n.session] = w.now
		}
		if !n.stuck {
			w.report(n)
		}
	}
}

func (w *world) report(n *node) {
	ready := &fsm.CopyReady{}
	for _, name := range slices.Sorted(maps.Keys(w.state.View.Types)) {
		for _, p := range w.state.View.Types[name].Placements {
			if p == nil {
				continue
			}
			if c, found := p.CopyOn(n.directory); found && c.State == shard.CopyMinted {
				ready.Items = append(ready.Items, fsm.CopyItem{Shard: p.Shard, Copy: c.ID, Directory: c.Directory})
			}
			if l, found := p.LearnerOn(n.directory); found && l.Copy.State == shard.CopyMinted {
				ready.Items = append(ready.Items, fsm.CopyItem{Shard: p.Shard, Copy: l.Copy.ID, Directory: n.directory})
			}
			if p.Status == shard.Establishing && p.Session == n.session {
				w.driver.Report(shard.Report{Kind: shard.ReportEstablished, Shard: p.Shard, Copy: p.Primary, Epoch: p.Epoch, Version: p.Version})
			}
			if p.Status == shard.Active && p.Session == n.session {
				w.serve(n, p)
			}
		}
	}
	if len(ready.Items) > 0 {
		w.apply(ready)
	}
}

// serve is what a primary does about its shard: hand over, take a learner into C, put a lost copy out.
func (w *world) serve(n *node, p *shard.Placement) {
	switch {
	case !p.Wished() || n.hang:
	case n.cling:
		w.driver.Report(shard.Report{Kind: shard.ReportStalledHandoff, Shard: p.Shard, Copy: p.HandTo, Epoch: p.Epoch, Version: p.Version})
	default:
		h := fsm.Handing{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session, To: p.HandTo}
		if h.To == 0 {
			h.Node = p.HandNode
		}
		w.apply(&fsm.HandOver{Items: []fsm.Handing{h}})
		return
	}
	var joining []shard.CopyID
	for _, l := range p.Learners {
		to := w.nodes[l.Copy.Node]
		if l.Copy.State != shard.CopyReady || to.slow || to.silent {
			continue
		}
		if l.Replaces != p.Primary {
			if joining = append(joining, l.Copy.ID); w.reconfigure(p, l.Replaces, joining...) {
				return
			}
			continue
		}
		if len(p.Copies) == 1 {
			w.reconfigure(p, 0, l.Copy.ID) // the only copy takes its successor into C
			return
		}
	}
	if p.Retiring != 0 && p.Retiring != p.Primary {
		w.reconfigure(p, p.Retiring)
		return
	}
	intact := 0
	for _, c := range p.Copies {
		if c.State != shard.CopyLost {
			intact++
		}
	}
	if intact < len(p.Copies) && intact >= p.WriteQuorum {
		w.reconfigure(p, 0)
	}
}

// reconfigure proposes a C without one copy and without any that is lost, and with others, unless that would be too few.
func (w *world) reconfigure(p *shard.Placement, without shard.CopyID, with ...shard.CopyID) bool {
	r := fsm.Reconfiguration{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session}
	for _, c := range p.Copies {
		if c.ID != without && c.State != shard.CopyLost {
			r.Copies = append(r.Copies, c.ID)
		}
	}
	r.Copies = append(r.Copies, with...)
	r.WriteQuorum = p.Quorums(w.state.View.Types[p.Shard.Type].Spec.WriteQuorum()).For(len(r.Copies))
	if r.WriteQuorum == 0 {
		return false
	}
	w.apply(&fsm.Reconfig{Items: []fsm.Reconfiguration{r}})
	return true
}

func (w *world) evict(f []string) {
	p := w.shard(f[0])
	w.reconfigure(p, w.copyOn(p, f[1]).ID)
}

func (w *world) leave(f []string) { w.apply(&fsm.Leave{Session: w.node(f[0]).session}) }

func (w *world) mark(f []string) {
	yes, no := true, false
	c := &fsm.Mark{Node: shard.NodeID(f[0])}
	for _, word := range f[1:] {
		switch word {
		case "cordoned":
			c.Cordoned = &yes
		case "draining":
			c.Draining = &yes
		case "maintenance":
			c.Maintenance = &yes
		case "open":
			c.Cordoned, c.Draining, c.Maintenance = &no, &no, &no
		default:
			w.t.Fatalf("there is no mark %q", word)
		}
	}
	w.apply(c)
}

func (w *world) pin(f []string) {
	c := &fsm.Pin{Shard: w.shard(f[0]).Shard}
	if len(f) > 1 {
		c.Node = shard.NodeID(f[1])
	}
	w.apply(c)
}

func (w *world) remove(f []string) {
	for _, id := range f {
		w.apply(&fsm.Remove{Node: shard.NodeID(id)})
	}
}

// plan prints every move the view calls for, whatever the driver does about it.
func (w *world) plan([]string) {
	for _, m := range plan.Balance(w.state.View) {
		fmt.Fprintln(&w.out, m)
	}
}

// drained prints what a drain of the node would move and what would stay.
func (w *world) drained(f []string) {
	moves, stays := plan.Drain(w.state.View, shard.NodeID(f[0]))
	for _, m := range moves {
		fmt.Fprintln(&w.out, m)
	}
	for _, n := range stays {
		fmt.Fprintln(&w.out, n)
	}
}

func (w *world) whatIf(f []string) {
	var lost []shard.NodeID
	for _, id := range f {
		lost = append(lost, shard.NodeID(id))
	}
	o := plan.WhatIf(w.state, lost)
	fmt.Fprintf(&w.out, "stop: %v\ndegraded: %v\nlose their last copy: %v\n", o.Stops, o.Degraded, o.LastCopy)
	if len(o.Lossy) > 0 {
		fmt.Fprintf(&w.out, "go on with a loss: %v\n", o.Lossy)
	}
}

// moving are the reasons why a shard that is served is not moved: it may have several.
var moving = map[plan.Reason]bool{
	plan.AwaitCooldown: true, plan.AwaitBudget: true, plan.AwaitMove: true, plan.AwaitTarget: true, plan.PinBlocked: true, plan.NoRoom: true,
}

// take carries out one step and prints it.
func (w *world) take(s plan.Step) {
	switch {
	case s.Command != nil:
		w.printNotes(fsm.NameOf(s.Command), s.Notes)
		w.apply(s.Command)
	case s.Node != "":
		w.printf("seal on %s: %d", s.Node, len(s.Seal))
		w.answer(s)
	default:
		for _, n := range s.Notes {
			n.Wait = 0
			about := n.Shard.String()
			if n.Shard.Type == "" || moving[n.Reason] {
				about += string(n.Reason) + string(n.Node)
			}
			if text := n.String(); w.said[about] != text {
				w.said[about] = text
				w.printf("skip %s", text)
			}
		}
	}
}

func (w *world) answer(s plan.Step) {
	n := w.nodes[s.Node]
	if n.silent || n.mute {
		return
	}
	for _, i := range s.Seal {
		a := w.logs[i.Copy]
		a.Shard, a.Copy, a.Epoch = i.Shard, i.Copy, i.Epoch
		w.driver.Sealed(a)
	}
}

func (w *world) printNotes(what string, notes []plan.Note) {
	const most = 6
	for i, n := range notes {
		if i == most && len(notes) > most+1 {
			w.printf("%s … and %d more", what, len(notes)-most)
			return
		}
		w.printf("%s %s", what, n)
		delete(w.said, n.Shard.String())
	}
}

func (w *world) printf(format string, args ...any) {
	fmt.Fprintf(&w.out, "%6.2fs %s\n", (w.now - time.Minute).Seconds(), fmt.Sprintf(format, args...))
}

// apply runs an entry and prints what was refused.
func (w *world) apply(commands ...fsm.Command) []fsm.Verdict {
	w.t.Helper()
	entry, err := fsm.Encode(commands...)
	if err != nil {
		w.t.Fatal(err)
	}
	next, result := fsm.Apply(w.state, w.state.Index()+1, entry)
	w.state = next
	if err := next.Check(); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range result.Verdicts {
		if v.Fault != nil {
			w.printf("refused: %v", v.Fault)
		}
		for _, fault := range v.Faults {
			if fault != nil {
				w.printf("refused: %v", fault)
			}
		}
	}
	return result.Verdicts
}

func (w *world) show(f []string) {
	for _, s := range f {
		p := w.shard(s)
		fmt.Fprintf(&w.out, "%s epoch %d %s", p.Shard, p.Epoch, p.Status)
		if p.Node != "" {
			fmt.Fprintf(&w.out, " on %s", p.Node)
		}
		fmt.Fprintf(&w.out, " (%s)", p.Cause)
		for _, c := range p.Copies {
			fmt.Fprintf(&w.out, " %d:%s:%s", c.ID, c.Node, c.State)
		}
		for _, l := range p.Learners {
			fmt.Fprintf(&w.out, " +%d:%s:%s", l.Copy.ID, l.Copy.Node, l.Copy.State)
			if l.Replaces != 0 {
				fmt.Fprintf(&w.out, " for %d", l.Replaces)
			}
		}
		for _, a := range p.Aside {
			fmt.Fprintf(&w.out, " [%d:%s]", a.Copy.ID, a.Copy.Node)
		}
		w.out.WriteByte('\n')
	}
}

func (w *world) explain(f []string) {
	id, err := shard.ParseID(f[0])
	if err != nil {
		w.t.Fatal(err)
	}
	w.lines(w.driver.Explain(w.input(), id))
}

// evidence prints what is known of a shard that does not recover.
func (w *world) evidence(f string) plan.Evidence {
	e := w.driver.Evidence(w.input(), w.shard(f).Shard)
	for _, c := range e.Copies {
		fmt.Fprintf(&w.out, "copy %d on %s: %s", c.Copy.ID, c.Copy.Node, c.Copy.State)
		switch {
		case c.Answered:
			fmt.Fprintf(&w.out, ", its log ends at %s, confirmed up to %d", c.Last, c.Confirmed)
		case !c.Up:
			fmt.Fprintf(&w.out, ", away for %s", c.Away)
		}
		fmt.Fprintln(&w.out)
	}
	fmt.Fprintf(&w.out, "chosen %d at %s, confirmed at least up to %d, lost at least %d", e.Chosen, e.Base, e.Known, e.Lost)
	if len(e.Anew) > 0 {
		fmt.Fprintf(&w.out, ", it would begin with nothing on %v", e.Anew)
	}
	if e.Whole {
		w.out.WriteString(", nothing is lost")
	}
	if e.Quiet > 0 {
		fmt.Fprintf(&w.out, ", the old primary may confirm for %s", e.Quiet)
	}
	fmt.Fprintln(&w.out)
	if e.Obstacle.Reason != "" {
		w.lines([]plan.Line{e.Obstacle})
	}
	return e
}

// degrade lets the shard write to one copy.
func (w *world) degrade(f string) {
	p := w.shard(f)
	w.apply(&fsm.Degrade{Items: []fsm.Degrading{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Floor: 1}}})
}

// recover does what the coordinator does when an operator accepts the loss.
func (w *world) recover(f []string) {
	e := w.evidence(f[0])
	if len(e.Anew) > 0 {
		w.apply(&fsm.BeginAnew{Items: []fsm.Placing{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Nodes: e.Anew}}})
		return
	}
	w.apply(&fsm.Promote{Items: []fsm.Promotion{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Copy: e.Chosen, Base: e.Base}}})
}

// candidates prints what speaks against each node.
func (w *world) candidates(f []string) {
	for _, c := range plan.Candidates(w.state.View, w.shard(f[0]).Shard) {
		fmt.Fprintln(&w.out, c)
	}
}

func (w *world) lines(lines []plan.Line) {
	for _, l := range lines {
		if l.Reason != "" {
			fmt.Fprintf(&w.out, "[%s] ", l.Reason)
		}
		fmt.Fprintln(&w.out, l.Text)
	}
}

// spread prints how many primaries and copies of a type each node has.
func (w *world) spread(f []string) {
	primaries, copies := map[shard.NodeID]int{}, map[shard.NodeID]int{}
	for _, p := range w.state.View.Types[shard.TypeName(f[0])].Placements {
		primaries[p.Node]++
		for _, c := range p.Copies {
			copies[c.Node]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		fmt.Fprintf(&w.out, "%s: %d primaries, %d copies\n", id, primaries[id], copies[id])
	}
}
