package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"muster/shard"
)

// setup is the shape of a run: how large, and how unkind.
type setup struct {
	nodes, voters, clients int
	specs                  []shard.Spec
	wipes                  bool
	harry                  float64 // the share of elected primaries that die before they serve
}

// Result is what a run showed.
type Result struct {
	Digest  uint64 // of everything that happened, in order
	Done    int    // commands that were answered "done"
	Unknown int    // commands of unknown outcome
	Entries int    // of the Raft log
	Epochs  int    // that served
	Faults  int
	Took    time.Duration // simulated
}

// The phases of a run.
const (
	warmUp  = 3 * time.Second
	unkind  = 12 * time.Second
	probing = 5 * time.Second
)

// leastDone is how many commands must be done for a run to have been worth it.
const leastDone = 20

// Run runs a seed. The error is the broken invariant. A trace, unless nil, gets a line for everything that matters; it does
// not change the run.
func Run(seed uint64, trace io.Writer) (result Result, err error) {
	w := newWorld(seed, trace)
	defer func() {
		result = w.result()
		if broken := recover(); broken != nil {
			v, ours := broken.(violation)
			if !ours {
				panic(broken)
			}
			err = fmt.Errorf("seed %d %s", seed, v.text)
		}
	}()
	w.run()
	return result, nil
}

func newWorld(seed uint64, trace io.Writer) *world {
	w := &world{
		seed: seed, dice: rand.New(rand.NewPCG(seed, 0x6d7573746572)), trace: trace, digest: seed,
		net: network{cut: map[[2]*node]bool{}},
	}
	w.check = newChecker(w)
	w.setup = w.draw()
	w.raft = newRaft(w)
	for i := range w.setup.nodes {
		id := shard.NodeID(fmt.Sprintf("n%d", i+1))
		n := &node{
			w: w, id: id, voter: i < w.setup.voters, zone: fmt.Sprintf("z%d", i%3), drift: (w.dice.Float64() - 0.5) * 0.008,
			offset: w.between(time.Second, time.Hour), disk: &disk{directory: shard.DirectoryID(string(id) + "-first")},
		}
		w.nodes = append(w.nodes, n)
		w.after(w.between(0, 300*time.Millisecond), n.start)
	}
	for i := range w.setup.clients {
		c := &client{w: w, session: shard.SessionID(1_000_000 + i)}
		w.clients = append(w.clients, c)
		w.after(w.between(0, time.Second), c.next)
	}
	return w
}

// draw chooses the shape of the run.
func (w *world) draw() setup {
	s := setup{nodes: 3 + w.dice.IntN(3), voters: 3, clients: 3 + w.dice.IntN(8), wipes: w.chance(0.4)}
	if w.chance(0.4) {
		s.harry = 0.6 * w.dice.Float64()
	}
	if s.nodes == 5 && w.chance(0.5) {
		s.voters = 5
	}
	for i := range 1 + w.dice.IntN(2) {
		replicas := w.dice.IntN(min(s.nodes, 4))
		s.specs = append(s.specs, shard.Spec{
			Name: shard.TypeName(fmt.Sprintf("t%d", i)), Shards: uint32(1 + w.dice.IntN(2)), Replicas: replicas,
			MinAcks: w.dice.IntN(replicas + 1), AckTimeout: shard.DefaultAckTimeout,
		})
	}
	s.specs = append(s.specs, shard.Spec{Name: "v", Shards: 1, Volatile: true, AckTimeout: shard.DefaultAckTimeout})
	return s
}

func (s *setup) volatile(id shard.ID) bool {
	for _, spec := range s.specs {
		if spec.Name == id.Type {
			return spec.Volatile
		}
	}
	return false
}

// run is both phases.
func (w *world) run() {
	never := func() bool { return false }
	for _, s := range w.setup.specs {
		w.log("type %s: %d shards, %d replicas, %d acks, volatile %t", s.Name, s.Shards, s.Replicas, s.MinAcks, s.Volatile)
	}
	w.until(warmUp, never)
	w.weather()
	w.disturb()
	w.until(warmUp+unkind, never)
	w.heal()
	for _, c := range w.clients {
		c.resting = true
	}
	w.settle()
	w.probe()
	w.settle()
	w.raft.replay()
	w.judge()
	if r := w.result(); r.Done < leastDone {
		w.fail("the run proves nothing: %d commands were done", r.Done)
	}
}

// settle waits until nothing is missing any more.
func (w *world) settle() {
	next := time.Duration(0)
	w.until(w.now+settleTime, func() bool {
		if w.now < next {
			return false
		}
		next = w.now + 100*time.Millisecond
		for _, c := range w.clients {
			if c.op != nil {
				return false
			}
		}
		return w.awaited() == ""
	})
	if why := w.awaited(); why != "" {
		w.fail("I14: %s after all faults were over: %s", settleTime, why)
	}
}

// probe demands that every shard that is served, and has copies enough, takes a command.
func (w *world) probe() {
	var open []*operation
	c := w.clients[0]
	for _, id := range w.setup.shards() {
		p := w.raft.state().View.Placement(id)
		if p.Status != shard.Active || len(w.intact(p)) < p.WriteQuorum {
			continue
		}
		c.number++
		op := &operation{began: w.now}
		op.shard, op.entity, op.value = id, "probe", uint64(c.session)<<32|c.number
		op.id = shard.RequestID{Session: c.session, Number: c.number}
		open = append(open, op)
		c.try(op)
	}
	w.until(w.now+probing, func() bool { return false })
	for _, op := range open {
		if op.kind != done {
			w.fail("I14: %s takes no command after all faults were over", op.shard)
		}
	}
}

func (w *world) result() Result {
	f := w.faults
	r := Result{
		Digest: w.digest, Entries: len(w.raft.entries) - 1, Took: w.now,
		Faults: f.crashes + f.pauses + f.cuts + f.wipes + f.stalls + f.leaders,
	}
	for _, c := range w.clients {
		for _, op := range c.ended {
			switch op.kind {
			case done:
				r.Done++
			case unknown:
				r.Unknown++
			}
		}
	}
	for _, id := range w.setup.shards() {
		r.Epochs += int(w.check.of(id).active)
	}
	return r
}
