package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator/plan"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	askTimeout    = time.Second            // for a member to answer about its seat
	askReach      = 500 * time.Millisecond // of which it may wait until it has applied what the leader has
	changeTimeout = 5 * time.Second        // for a change of Raft's configuration to be committed
)

// configuration is Raft's, and the entry it is from.
type configuration struct {
	index   uint64
	servers []raft.Server
}

// council is what a leader does about the voters: it has the plan decide, makes the changes one at a time, and asks members to
// run Raft or to run it no more. Its goroutine waits for each change; the calls go out on the side, one to a node at a time.
type council struct {
	l        *leading
	decides  *plan.Electorate
	deaf     plan.Deafness
	began    configuration // of the newest snapshot when the leadership began
	caughtUp map[shard.DirectoryID]bool
	calling  map[shard.DirectoryID]bool
	answers  chan seatAnswer
	said     map[string]bool // what the log has already, of the last round
}

// seatAnswer is a member's about its seat.
type seatAnswer struct {
	directory shard.DirectoryID
	caughtUp  bool
}

// tend keeps the voters odd and able to answer for as long as this node leads.
func (l *leading) tend(work *life) {
	t := l.v.c.cfg.Times
	k := &council{
		l: l, decides: plan.NewElectorate(t.ReplaceVoter, t.CatchUp, t.grace()), caughtUp: map[shard.DirectoryID]bool{},
		calling: map[shard.DirectoryID]bool{}, answers: make(chan seatAnswer, 16),
	}
	list, err := l.v.snapshots.List()
	if err != nil {
		l.v.log.Warn("the voters are left as they are", "error", err)
		return
	}
	if len(list) > 0 {
		k.began = configuration{list[0].ConfigurationIndex, list[0].Configuration.Servers}
	}
	tick := time.NewTicker(t.Renew / 2)
	defer tick.Stop()
	for {
		select {
		case <-work.done():
			return
		case a := <-k.answers:
			delete(k.calling, a.directory)
			k.caughtUp[a.directory] = a.caughtUp
			if !a.caughtUp {
				continue
			}
		case <-tick.C:
		}
		k.round(work)
	}
}

// round looks once.
func (k *council) round(work *life) {
	now, settled := k.configuration()
	if !settled {
		return
	}
	seats := make([]plan.Seat, len(now.servers))
	present := map[shard.DirectoryID]bool{}
	for i, s := range now.servers {
		node, directory := nodeOf(s.ID)
		seats[i] = plan.Seat{Node: node, Directory: directory, Addr: string(s.Address), Voter: s.Suffrage == raft.Voter}
		present[directory] = true
	}
	for directory := range k.caughtUp {
		if !present[directory] {
			delete(k.caughtUp, directory)
		}
	}
	c := k.l.v.c
	in := plan.VotersInput{
		Now: c.clock.now(), View: k.l.v.machine.state().View, Leader: c.cfg.Node, Seats: seats,
		CaughtUp: func(s plan.Seat) bool { return k.caughtUp[s.Directory] },
		DownFor:  k.l.v.machine.state().DownFor, LeaderSince: k.l.since(), Renewed: k.l.renewed,
	}
	steps, lines := k.decides.Next(in), k.decides.Explain(in)
	k.l.seated.Store(&lines)
	if k.deaf.Next(in.Now, c.cfg.Times.Lease, in.View, seats) {
		c.log.Warn("this node leads the group and hears from too few voters: it gives up the lead")
		work.Go(func() { c.transfer(work.ctx) })
	}
	said := map[string]bool{}
	for _, s := range steps {
		line := s.String()
		if said[line] = true; !k.said[line] {
			c.log.Info("voters", "step", line)
		}
		k.do(work, s, now.index)
	}
	k.said = said
}

// configuration is Raft's newest; settled is false while it is not committed. The two that are compared come from Raft
// itself, and from the log and the snapshot: only those know the index that a change must name.
func (k *council) configuration() (now configuration, settled bool) {
	v := k.l.v
	v.machine.mu.Lock()
	now = v.machine.mu.voters
	v.machine.mu.Unlock()
	if now.index < k.began.index {
		now = k.began
	}
	return now, now.index > 0 && slices.Equal(v.configured(), now.servers)
}

// do takes one step.
func (k *council) do(work *life, s plan.VoterStep, index uint64) {
	r := k.l.v.raft.Load()
	id, addr := serverID(s.Seat.Node, s.Seat.Directory), raft.ServerAddress(s.Seat.Addr)
	var f raft.IndexFuture
	switch {
	case s.Action == plan.AddNewcomer, s.Action == plan.Readdress && !s.Seat.Voter:
		f = r.AddNonvoter(id, addr, index, enqueueTimeout)
	case s.Action == plan.Promote, s.Action == plan.Readdress:
		f = r.AddVoter(id, addr, index, enqueueTimeout)
	case s.Action == plan.Dismiss:
		f = r.RemoveServer(id, index, enqueueTimeout)
	case s.Action == plan.AskToSit, s.Action == plan.AskToLeave:
		k.ask(work, s)
		return
	default:
		return
	}
	if err := answered(work.ctx, f, changeTimeout); err != nil {
		k.l.v.c.log.Warn("the voters did not change as decided", "step", s, "error", err) // the next round sees what became of it
	}
}

// ask tells a member about its seat, unless the last call has not been answered.
func (k *council) ask(work *life, s plan.VoterStep) {
	if k.calling[s.Seat.Directory] {
		return
	}
	_, applied, _ := k.l.v.machine.look()
	req := &wire.SeatRequest{
		Directory: string(s.Seat.Directory), Leave: s.Action == plan.AskToLeave, Term: k.l.v.raft.Load().CurrentTerm(), Applied: uint64(applied),
	}
	k.calling[s.Seat.Directory] = work.Go(func() {
		a := seatAnswer{directory: s.Seat.Directory}
		reply, err := k.l.v.c.askSeat(work.ctx, s.Seat.Addr, req)
		if err != nil {
			k.l.v.c.log.Debug("a member did not answer about its seat", "node", s.Seat.Node, "error", err)
		} else {
			a.caughtUp = reply.CaughtUp
		}
		select {
		case k.answers <- a:
		case <-work.done():
		}
	})
}

func (c *Coordinator) askSeat(ctx context.Context, addr string, req *wire.SeatRequest) (*wire.SeatReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := wire.NewGroupClient(c.cfg.Port.Peer(addr)).Seat(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("ask about the seat at %s: %w", addr, transport.Typed(err))
	}
	if reply.Fault != nil {
		return nil, transport.ErrorOf(reply.Fault)
	}
	return reply, nil
}
