package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// setup is the shape of a run.
type setup struct {
	nodes, spares, voters, clients int
	zones                          int
	specs                          []shard.Spec
	ids                            []shard.ID // every shard there will be
	think                          time.Duration
	times                          plan.Times
	budget                         plan.Budget
	replaceVoter, plan             time.Duration
}

// counts is what a run did beside commands.
type counts struct {
	reconfigs, learners, wishes, pauses, handOffs, volatileHandOffs, stalled, retired, seats, releases int

	Rare
	placements int // changes after the faults, of shards that are not stuck
	vain       int // entries of reports on copies, of which nothing came
}

// Rare is what does not happen in every run.
type Rare struct {
	Deserted  int // primaries that gave way because nobody answered them
	Torn      int // shards that were torn apart along a change
	Lagged    int // hand-overs that left copies behind
	Stillborn int // copies that were lost with their journal before anybody had heard of them
	Lifted    int // settings of operators whose time was over

	Slight    int // runs that did too little to prove anything
	Shortened int // logs that were made to start later
	Installed int // shard snapshots that took a log's place
	Forsaken  int // shards that went on with one copy alone
	Lossy     int // shards that went on without some copies, as their type says
	Emptied   int // shards that were begun anew
	Lost      int // of all those, without confirmed records
}

// Result is what a run showed.
type Result struct {
	Digest   uint64 // of everything that happened, in order
	Done     int    // commands that were answered "done"
	Unknown  int    // commands of unknown outcome
	Refused  int
	Entries  int // of the Raft log
	Epochs   int // that served
	Changes  int // of C
	Handed   int // planned hand-offs, of journaled shards and of others
	Retired  int // copies whose data were removed because nobody counted on them any more
	Seats    int // changes of Raft's configuration
	Releases int // of barriers
	Stuck    int // shards that had lost too many copies to go on
	Acts     [Acts]int
	Took     time.Duration // simulated
	Rare
}

// The phases of a run.
const (
	warmUp  = 3 * time.Second
	unkind  = 12 * time.Second
	probing = 5 * time.Second
	calm    = 4 * time.Second // for which nothing may move after all is well
)

// replayed says which seeds apply their log again: one of so many. What the log makes of a state does not depend on the rest of
// a run, and a third of the time would go there.
const replayed = 8

// leastDone is how many commands must be done for a run to have been worth it. Few runs are not.
const leastDone = 20

// Run runs a seed. The error is the broken invariant, or where the code that runs panicked. A trace, unless nil, gets a line for everything that matters; it does
// not change the run.
func Run(seed uint64, trace io.Writer) (result Result, err error) {
	w := newWorld(seed, trace)
	defer func() {
		result = w.result()
		if broken := recover(); broken != nil {
			v, ours := broken.(violation)
			if !ours {
				v.text = fmt.Sprintf("at %.4fs: panic: %v\n%s", w.now.Seconds(), broken, debug.Stack())
			}
			err = fmt.Errorf("seed %d %s\nit ran with %s", seed, v.text, w.swarm.String())
		}
	}()
	w.run()
	return result, nil
}

func newWorld(seed uint64, trace io.Writer) *world {
	w := &world{
		seed: seed, dice: rand.New(rand.NewPCG(seed, 0x6d7573746572)), trace: trace, digest: seed,
		net: network{cut: map[[2]*node]bool{}}, phase: phase{drains: map[shard.NodeID]bool{}, stuck: map[shard.ID]bool{}},
	}
	w.check = newChecker(w)
	w.setup = w.draw()
	w.swarm = w.drawSwarm()
	for i := range w.setup.nodes + w.setup.spares {
		n := &node{w: w, id: shard.NodeID(fmt.Sprintf("n%d", i+1)), offset: w.between(time.Second, time.Hour), absent: i >= w.setup.nodes}
		if w.setup.zones > 0 {
			n.zone = fmt.Sprintf("z%d", i%w.setup.zones)
		}
		if w.swarm.drift {
			n.drift = (w.dice.Float64() - 0.5) * 0.008
		}
		n.disk = newDisk(n)
		w.nodes = append(w.nodes, n)
		w.after(w.between(0, 300*time.Millisecond), n.start)
	}
	w.raft = newRaft(w, w.nodes[:w.setup.voters])
	for i := range w.setup.clients {
		c := &client{w: w, id: uint64(i + 1)}
		w.clients = append(w.clients, c)
		w.after(w.between(0, time.Second), c.next)
	}
	return w
}

// draw chooses the shape of the run.
func (w *world) draw() setup {
	s := setup{
		nodes: 3 + w.dice.IntN(4), spares: w.dice.IntN(3), voters: 3, clients: 2 + w.dice.IntN(6), zones: w.dice.IntN(4),
		think: w.between(5*time.Millisecond, 80*time.Millisecond), times: plan.DefaultTimes(), budget: plan.DefaultBudget(),
		replaceVoter: w.between(4*time.Second, 10*time.Second), plan: w.between(40*time.Millisecond, 200*time.Millisecond),
	}
	if s.nodes >= 5 && w.chance(0.4) {
		s.voters = 5
	}
	s.times.Rebuild = w.between(time.Second, 4*time.Second)
	s.times.Cooldown = w.between(500*time.Millisecond, 3*time.Second)
	s.times.Create, s.times.Again = 3*time.Second, 2*time.Second
	s.times.Autonomy = pick(w, []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second})
	if w.chance(0.5) {
		s.budget = plan.Budget{Learners: 1 + w.dice.IntN(3), PerNode: 1, Wishes: 1 + w.dice.IntN(3)}
	}
	for i := range 1 + w.dice.IntN(2) {
		replicas := w.dice.IntN(min(s.nodes, 4))
		spec := shard.Spec{
			Name: shard.TypeName(fmt.Sprintf("t%d", i)), Shards: uint32(1 + w.dice.IntN(3)), Replicas: replicas, MinAcks: w.dice.IntN(replicas + 1),
			AckTimeout: pick(w, []time.Duration{500 * time.Millisecond, time.Second, shard.DefaultAckTimeout}),
		}
		if replicas > 0 && spec.MinAcks == 0 && w.chance(0.5) {
			spec.LossyAfter = w.between(500*time.Millisecond, 6*time.Second)
		}
		s.specs = append(s.specs, spec)
	}
	if w.chance(0.6) {
		s.specs = append(s.specs, shard.Spec{Name: "v", Shards: uint32(1 + w.dice.IntN(2)), Volatile: true, AckTimeout: shard.DefaultAckTimeout})
	}
	for _, spec := range s.specs {
		for n := range spec.Shards {
			s.ids = append(s.ids, shard.ID{Type: spec.Name, Number: shard.Number(n)})
		}
	}
	return s
}

func (s *setup) spec(name shard.TypeName) shard.Spec {
	return s.specs[slices.IndexFunc(s.specs, func(spec shard.Spec) bool { return spec.Name == name })]
}

// run is both phases.
func (w *world) run() {
	never := func() bool { return false }
	for _, s := range w.setup.specs {
		w.log("type %s: %d shards, %d replicas, %d acks, volatile %t, lossy after %s", s.Name, s.Shards, s.Replicas, s.MinAcks, s.Volatile, s.LossyAfter)
	}
	w.log("%d nodes, %d more may join, %d voters, %d zones, rebuild after %s; %s",
		w.setup.nodes, w.setup.spares, w.setup.voters, w.setup.zones, w.setup.times.Rebuild, w.swarm.String())
	w.until(warmUp, never)
	w.disturb()
	w.until(warmUp+unkind, never)
	w.heal()
	w.settle()
	if w.chance(0.5) && w.rescue() {
		w.settle()
	}
	if w.chance(0.15) && w.desert() {
		w.settle()
	}
	w.probe()
	w.settle()
	w.stay()
	if w.seed%replayed == 0 {
		w.raft.replay()
	}
	w.judge()
}

// changed notes that a placement did.
func (w *world) changed(p *shard.Placement) {
	switch {
	case w.stuck[p.Shard]:
		w.unstuck = true
	case w.healed && !w.unstuck:
		w.counts.placements++
	}
	if p.Cause == shard.CauseReconfigured && p.Status == shard.Active {
		if v := w.check.of(p.Shard); v.reconfigured != p.Version {
			v.reconfigured = p.Version
			w.counts.reconfigs++
		}
	}
}

// planned counts what the planner proposes.
func (w *world) planned(c fsm.Command) {
	switch c := c.(type) {
	case *fsm.AddLearner:
		w.counts.learners += len(c.Items)
	case *fsm.Wish:
		w.counts.wishes += len(c.Items)
	}
}

func (w *world) result() Result {
	r := Result{
		Digest: w.digest, Entries: len(w.raft.entries) - 1, Took: w.now, Acts: w.acted, Changes: w.counts.reconfigs,
		Handed: w.counts.handOffs + w.counts.volatileHandOffs, Retired: w.counts.retired, Seats: w.counts.seats, Releases: w.counts.releases, Rare: w.counts.Rare,
	}
	for _, c := range w.clients {
		for _, op := range c.ended {
			switch op.kind {
			case done:
				r.Done++
			case unknown:
				r.Unknown++
			case refused:
				r.Refused++
			}
		}
	}
	if r.Done < leastDone {
		r.Slight = 1
	}
	for _, id := range w.setup.ids {
		r.Epochs += int(w.check.of(id).active)
		if p := w.raft.state().View.Placement(id); p != nil && w.hopeless(p) {
			r.Stuck++
		}
	}
	return r
}

// Add adds what another run showed.
func (r *Result) Add(o Result) {
	r.Done, r.Unknown, r.Refused, r.Entries, r.Epochs = r.Done+o.Done, r.Unknown+o.Unknown, r.Refused+o.Refused, r.Entries+o.Entries, r.Epochs+o.Epochs
	r.Changes, r.Handed, r.Retired, r.Seats = r.Changes+o.Changes, r.Handed+o.Handed, r.Retired+o.Retired, r.Seats+o.Seats
	r.Releases, r.Stuck, r.Took = r.Releases+o.Releases, r.Stuck+o.Stuck, r.Took+o.Took
	for a := range r.Acts {
		r.Acts[a] += o.Acts[a]
	}
	r.Deserted, r.Torn, r.Lifted, r.Slight = r.Deserted+o.Deserted, r.Torn+o.Torn, r.Lifted+o.Lifted, r.Slight+o.Slight
	r.Lagged, r.Stillborn = r.Lagged+o.Lagged, r.Stillborn+o.Stillborn
	r.Shortened, r.Installed = r.Shortened+o.Shortened, r.Installed+o.Installed
	r.Forsaken, r.Lossy, r.Emptied, r.Lost = r.Forsaken+o.Forsaken, r.Lossy+o.Lossy, r.Emptied+o.Emptied, r.Lost+o.Lost
}

// String is a line of totals.
func (r Result) String() string {
	var names []string
	for a := range Acts {
		names = append(names, fmt.Sprintf("%s %d", a, r.Acts[a]))
	}
	return fmt.Sprintf("%s simulated, %d entries, %d epochs, %d changes of C, %d hand-offs, %d copies retired, %d changes of voters, "+
		"%d barriers opened, %d shards stuck for want of copies, %d primaries deserted, %d shards torn along a change, %d copies left behind a hand-over, %d lost before they were known, %d settings over, %d logs shortened, %d snapshots installed, %d shards gone on with one copy, %d as their type says, %d begun anew, %d with a loss; %d runs of next to nothing; %d commands done, %d unknown, %d refused; %s",
		r.Took, r.Entries, r.Epochs, r.Changes, r.Handed, r.Retired, r.Seats, r.Releases, r.Stuck, r.Deserted, r.Torn, r.Lagged, r.Stillborn, r.Lifted, r.Shortened, r.Installed, r.Forsaken, r.Lossy, r.Emptied, r.Lost, r.Slight, r.Done, r.Unknown, r.Refused, strings.Join(names, ", "))
}
