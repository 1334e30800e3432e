package coordinator

import (
	"context"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// mostPlanLines bounds an answer about the plan. It is more than a person reads, and less than a message holds.
const mostPlanLines = 10_000

// Consult answers a question of an operator that takes more than the map, as the leader knows it.
func (c *Coordinator) Consult(ctx context.Context, req *wire.ConsultRequest) (*wire.ConsultReply, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var reply *wire.ConsultReply
	err := c.atLeader(ctx, leaderCall{
		reads: true,
		local: func(ctx context.Context, v *voter) (err error) {
			reply, err = v.consult(ctx, req)
			return err
		},
		remote: func(ctx context.Context, g wire.GroupClient) error {
			there, err := g.Consult(ctx, req)
			if err != nil {
				return transport.Typed(err)
			}
			if there.Fault != nil {
				return transport.ErrorOf(there.Fault)
			}
			reply = there
			return nil
		},
	})
	return reply, err
}

// History returns the newest changes of a shard, oldest first, as the leader has them.
func (c *Coordinator) History(ctx context.Context, id shard.ID) ([]fsm.Change, error) {
	reply, err := c.Consult(ctx, &wire.ConsultRequest{
		Question: wire.Question_QUESTION_HISTORY, Type: string(id.Type), Shard: uint32(id.Number),
	})
	if err != nil {
		return nil, err
	}
	return fsm.DecodeHistory(reply.History)
}

// Consult implements the Group service. A client's question is passed on to the leader.
func (s *service) Consult(ctx context.Context, req *wire.ConsultRequest) (*wire.ConsultReply, error) {
	reply, err := s.consult(ctx, req)
	if err != nil {
		return &wire.ConsultReply{Fault: transport.FaultOf(err)}, nil
	}
	return reply, nil
}

func (s *service) consult(ctx context.Context, req *wire.ConsultRequest) (*wire.ConsultReply, error) {
	if transport.CallerNode(ctx) == "" {
		ctx, cancel := answering(ctx)
		defer cancel()
		return s.c.Consult(ctx, req)
	}
	v, err := s.c.seat()
	if err != nil {
		return nil, err
	}
	return v.consult(ctx, req)
}

// consult answers here, on the leader.
func (v *voter) consult(ctx context.Context, req *wire.ConsultRequest) (*wire.ConsultReply, error) {
	state, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	reply := &wire.ConsultReply{Node: string(v.c.cfg.Node)}
	id := shard.ID{Type: shard.TypeName(req.Type), Number: shard.Number(req.Shard)}
	if err := missing(state.View, "", id); err != nil {
		return nil, err
	}
	switch req.Question {
	case wire.Question_QUESTION_HISTORY:
		reply.History = fsm.EncodeHistory(state.History(id))
	case wire.Question_QUESTION_PEERS:
		reply.Peers, err = v.peers(ctx)
		if lines := v.leading.seated.Load(); lines != nil {
			reply.Plan = planLines(*lines)
		}
	case wire.Question_QUESTION_PLAN:
		reply.Plan = v.leading.newest.lines()
	case wire.Question_QUESTION_EVIDENCE:
		var e plan.Evidence
		e, err = v.evidence(ctx, id)
		reply.Evidence = evidenceReply(e)
	case wire.Question_QUESTION_EXPLAIN:
		var lines []plan.Line
		lines, err = asked(ctx, v, func(d *plan.Driver, in plan.Input) []plan.Line { return d.Explain(in, id) })
		reply.Plan = planLines(lines)
	default:
		return nil, shard.Invalid("question %d is none that this node knows", req.Question)
	}
	return reply, err
}

// asked puts a question to the driver of the leader's loop. With the lead the loop ends, and answers nothing any more.
func asked[T any](ctx context.Context, v *voter, ask func(*plan.Driver, plan.Input) T) (T, error) {
	var none T
	answer := make(chan T, 1)
	over, since := v.leading.over(), v.leading.since()
	if !v.leading.tell(func(d *plan.Driver) { answer <- ask(d, v.leading.input(v.machine.state(), since)) }) {
		return none, shard.Errorf(shard.CodeOverloaded, "%d facts and questions wait for the leader's loop", factsQueued)
	}
	select {
	case a := <-answer:
		return a, nil
	case <-over:
		return none, v.translate(raft.ErrNotLeader)
	case <-ctx.Done():
		return none, shard.Errorf(shard.CodeTimeout, "the leader's loop did not answer in time")
	}
}

func planLines(lines []plan.Line) []*wire.PlanLine {
	out := make([]*wire.PlanLine, len(lines))
	for i, l := range lines {
		out[i] = &wire.PlanLine{Reason: string(l.Reason), Text: l.Text}
	}
	return out
}

func (v *voter) peers(ctx context.Context) ([]*wire.RaftPeer, error) {
	servers, err := v.servers(ctx)
	if err != nil {
		return nil, err
	}
	_, leader := v.raft.Load().LeaderWithID()
	var peers []*wire.RaftPeer
	for _, s := range servers {
		node, directory := nodeOf(s.ID)
		peers = append(peers, &wire.RaftPeer{
			Node: string(node), Directory: string(directory), Addr: string(s.Address), Votes: s.Suffrage == raft.Voter, Leads: s.ID == leader,
		})
	}
	return peers, nil
}

// outline is the leader's newest plan, for whoever asks. The loop replaces it whole.
type outline struct{ steps atomic.Pointer[[]plan.Step] }

func (o *outline) set(steps []plan.Step) { o.steps.Store(&steps) }

// lines tells of each step and each skip with its reason.
func (o *outline) lines() []*wire.PlanLine {
	steps := o.steps.Load()
	if steps == nil {
		return nil
	}
	var lines []*wire.PlanLine
	for _, s := range *steps {
		step := ""
		if s.Command != nil {
			step = fsm.NameOf(s.Command)
		}
		for _, n := range s.Notes {
			if len(lines) == mostPlanLines {
				return lines
			}
			lines = append(lines, &wire.PlanLine{Step: step, Reason: string(n.Reason), Text: n.String()})
		}
	}
	return lines
}
