package coordinator

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// service answers the calls of other nodes and of clients. It converts; the Coordinator's parts decide.
//
// What only the leader can answer is never passed on to it for another node, which is told who leads. A client may ask any node: what it
// asks is passed on, and a leader waited for while there is none.
type service struct {
	wire.UnimplementedGroupServer
	c *Coordinator
}

// Hello implements the Group service.
func (s *service) Hello(context.Context, *wire.HelloRequest) (*wire.HelloReply, error) {
	return s.c.hello(), nil
}

// Form implements the Group service.
func (s *service) Form(ctx context.Context, req *wire.FormRequest) (*wire.FormReply, error) {
	return &wire.FormReply{Fault: transport.FaultOf(s.c.receiveForm(ctx, transport.CallerNode(ctx), req))}, nil
}

// seat is this node's seat in the group, or a fault that says where to go.
func (c *Coordinator) seat() (*voter, error) {
	if v := c.voter.Load(); v != nil && v.raft.Load() != nil {
		return v, nil
	}
	node, addr, _ := c.Leader()
	return nil, &shard.Error{Code: shard.CodeNotLeader, Node: node, Addr: addr, Detail: "this node has no vote"}
}

// Propose implements the Group service. A client's commands are passed on to the leader.
func (s *service) Propose(ctx context.Context, req *wire.ProposeRequest) (*wire.ProposeReply, error) {
	var d decided
	commands, err := fsm.Decode(req.Commands)
	if err == nil {
		err = proposable(transport.CallerNode(ctx), commands)
	}
	switch {
	case err != nil:
	case transport.CallerNode(ctx) == "":
		ctx, cancel := answering(ctx)
		defer cancel()
		d, err = s.c.proposeOnce(ctx, commands...)
	default:
		d, err = s.propose(ctx, fsm.Lengths{Lease: micros(req.LeaseMicros), Autonomy: micros(req.AutonomyMicros)}, commands)
	}
	reply := &wire.ProposeReply{Index: uint64(d.index), Fault: transport.FaultOf(err), LeaseMicros: d.lease.Microseconds()}
	for _, v := range d.verdicts {
		b, err := fsm.EncodeVerdict(v)
		if err != nil {
			return nil, shard.Unknownf(shard.CodeInternal, "verdict: %v", err)
		}
		reply.Verdicts = append(reply.Verdicts, b)
	}
	return reply, nil
}

func (s *service) propose(ctx context.Context, lengths fsm.Lengths, commands []fsm.Command) (decided, error) {
	v, err := s.c.seat()
	if err != nil {
		return decided{}, err
	}
	for _, c := range commands {
		if id, named := sessionOf(c); named {
			if err := v.speaksFor(ctx, transport.CallerNode(ctx), id); err != nil {
				return decided{}, err
			}
		}
	}
	return v.propose(ctx, lengths, commands...)
}

// Renew implements the Group service.
func (s *service) Renew(ctx context.Context, req *wire.RenewRequest) (*wire.RenewReply, error) {
	v, err := s.c.seat()
	if err == nil {
		err = v.speaksFor(ctx, transport.CallerNode(ctx), shard.SessionID(req.Session))
	}
	if err != nil {
		return &wire.RenewReply{Fault: transport.FaultOf(err)}, nil
	}
	if req.Heir {
		v.leading.heirs.add(v.machine.state().View, shard.SessionID(req.Session), byte(min(req.Reads, math.MaxUint8)))
	}
	e, err := v.leading.renew(ctx, fsm.Renewal{
		Session: shard.SessionID(req.Session), Number: req.Number, Lengths: fsm.Lengths{Lease: micros(req.LeaseMicros), Autonomy: micros(req.AutonomyMicros)},
	})
	return &wire.RenewReply{
		Index: uint64(e.index), NextMicros: e.next.Microseconds(), LeaseMicros: e.lease.Microseconds(), Fault: transport.FaultOf(err),
	}, nil
}

// Report implements the Group service.
func (s *service) Report(ctx context.Context, req *wire.ReportRequest) (*wire.ReportReply, error) {
	v, err := s.c.seat()
	if n := max(len(req.Reports), len(req.Loads)); err == nil && n > reportsSent {
		err = shard.Errorf(shard.CodeOverloaded, "%d reports in one call, the most is %d", n, reportsSent)
	}
	caller := transport.CallerNode(ctx)
	if err == nil {
		err = v.speaksFor(ctx, caller, shard.SessionID(req.Session))
	}
	if err == nil {
		err = v.holds(caller, shard.DirectoryID(req.Directory))
	}
	var batch []shard.Report
	if err == nil {
		batch, err = reportsOf(req)
	}
	if err == nil {
		err = v.takeCounts(shard.SessionID(req.Session), countsOf(req))
	}
	if err == nil && len(batch) > 0 {
		from := plan.Reporter{Directory: shard.DirectoryID(req.Directory), Session: shard.SessionID(req.Session)}
		err = v.takeReports(ctx, from, batch)
	}
	return &wire.ReportReply{Fault: transport.FaultOf(err)}, nil
}

// Watch implements the Group service.
func (s *service) Watch(req *wire.WatchRequest, stream grpc.ServerStreamingServer[wire.WatchEvent]) error {
	v, err := s.c.seat()
	if err != nil {
		node, addr, term := s.c.Leader()
		return stream.Send(&wire.WatchEvent{Behind: true, Leader: string(node), LeaderAddr: addr, Term: term})
	}
	w := &watcher{v: v, from: shard.Index(req.From), parts: req.Parts, send: stream.Send}
	return w.run(stream.Context(), s.c.cfg.Port.Draining())
}

// Arrive implements the Group service. A call that names no session comes from a client: it borrows this node's. Its request is then the
// client's own name for the call; with no parties it has the call of that name taken back.
func (s *service) Arrive(ctx context.Context, req *wire.ArriveRequest) (*wire.ArriveReply, error) {
	patience := longestWait // no time is no deadline
	if req.TimeoutMicros != 0 {
		patience = min(max(time.Duration(req.TimeoutMicros)*time.Microsecond, 0), longestWait)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if req.Session == 0 {
		who := caller{req.Name, req.Request}
		if req.Request != 0 && req.Parties == 0 {
			return &wire.ArriveReply{Fault: transport.FaultOf(s.c.arrivals.callers.takeBack(who))}, nil
		}
		ctx, over := s.c.arrivals.callers.enter(ctx, who)
		defer over()
		out, err := s.c.Arrive(ctx, req.Name, int(req.Parties), req.Participant)
		if err != nil {
			return &wire.ArriveReply{Fault: transport.FaultOf(err)}, nil
		}
		return replyOf(out), nil
	}
	v, err := s.c.seat()
	if err == nil {
		err = v.speaksFor(ctx, transport.CallerNode(ctx), shard.SessionID(req.Session))
	}
	if err != nil {
		return &wire.ArriveReply{Fault: transport.FaultOf(err)}, nil
	}
	out, err := v.arrive(ctx, arrival{req.Name, int(req.Parties), req.Participant, shard.SessionID(req.Session), req.Request})
	if err != nil {
		return &wire.ArriveReply{Fault: transport.FaultOf(err)}, nil
	}
	return replyOf(out), nil
}

// answerMargin is how much sooner than a client, which gave its deadline along, a node gives up looking for a leader. Else the
// client would hear of the deadline, and not of what it was that could not be done.
const answerMargin = 250 * time.Millisecond

func answering(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, has := ctx.Deadline()
	if !has {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-min(answerMargin, time.Until(deadline)/5)))
}

// Inspect implements the Group service. A linearizable request is answered by the leader: here, or there when a client asks.
func (s *service) Inspect(req *wire.InspectRequest, stream grpc.ServerStreamingServer[wire.InspectReply]) error {
	found, err := s.inspect(stream.Context(), req.Linearizable)
	if err != nil {
		return stream.Send(&wire.InspectReply{Fault: transport.FaultOf(err)})
	}
	for _, r := range found.replies(s.c.cfg.Version, s.c.cfg.Hosted()) {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) inspect(ctx context.Context, linearizable bool) (*Inspection, error) {
	if transport.CallerNode(ctx) == "" {
		ctx, cancel := answering(ctx)
		defer cancel()
		return s.c.Inspect(ctx, linearizable)
	}
	if linearizable {
		v, err := s.c.seat()
		if err == nil && !v.leads() {
			_, err = v.read(ctx) // says who leads
		}
		if err != nil {
			return nil, err
		}
	}
	return s.c.Inspect(ctx, linearizable)
}
