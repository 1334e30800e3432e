package region

import (
	"context"
	"time"

	"muster/entity"
	"muster/region/route"
	"muster/shard"
)

// Ask sends the command to its entity, wherever that lives, and returns the reply once everything it rests on is
// confirmed. Errors are *shard.Error. The deadline is ctx's, or Limits.Timeout from now when ctx has none; until then the
// region finds the owner, waits for one, and repeats an attempt whose answer was lost, always with the same request id,
// so the command takes effect at most once.
func (r *Region) Ask(ctx context.Context, e entity.Envelope) ([]byte, error) {
	return r.send(ctx, e, false)
}

// Tell is Ask without the reply.
func (r *Region) Tell(ctx context.Context, e entity.Envelope) error {
	_, err := r.send(ctx, e, true)
	return err
}

func (r *Region) send(ctx context.Context, e entity.Envelope, tell bool) ([]byte, error) {
	a := newAsk()
	defer a.free()
	if !r.origin.begin(a.place) {
		return nil, r.closing()
	}
	defer r.origin.end(a.place)
	id, err := r.locate(ctx, &e)
	if err != nil {
		return nil, err
	}
	a.region, a.shard, a.env, a.tell = r, id, e, tell
	if w := aside(ctx); w != nil {
		defer w.back()
	}
	if v, ok := r.owner(id).(*volatile); ok {
		if reply, fault, done := a.here(ctx, v); done {
			return reply, asError(fault)
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.limits.Timeout)
		defer cancel()
	}
	reply, fault := a.pursue(ctx)
	for fault != nil && fault.Outcome == shard.NotApplied && a.anew(ctx, fault) {
		reply, fault = a.pursue(ctx)
	}
	return reply, asError(fault)
}

// passedOver is the fault of an ask whose number may not be sent again, see desk.
var passedOver = shard.Errorf(shard.CodeOverloaded, "%d commands to its shard that came later were answered first: it is not asked again", maxOpen/2)

// anew reports whether an ask of which no attempt has taken effect is to be asked under another number.
func (a *ask) anew(ctx context.Context, fault *shard.Error) bool {
	if fault == passedOver {
		return ctx.Err() == nil
	}
	return fault.Code == shard.CodeSessionEnded && a.anotherSession(ctx)
}

// anotherSession waits until the node has a session after the one under which the command was refused: no attempt has taken
// effect, so it may be asked anew under a number of that one. False when there is no time for it.
func (a *ask) anotherSession(ctx context.Context) bool {
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for {
		if now := a.region.cfg.Directory.Session(); now > a.env.Request.Session {
			return true
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return false
		case <-a.region.life.Done():
			return false
		}
	}
}

// locate judges a command that is given to this node and returns its shard.
func (r *Region) locate(ctx context.Context, e *entity.Envelope) (id shard.ID, err error) {
	if r.stopped() != nil {
		return id, r.closing()
	}
	if err := e.Validate(); err != nil {
		return id, err
	}
	v := r.view.Load()
	id, ok := v.Locate(e.Type, e.Entity)
	switch {
	case !ok && v.Index == 0:
		return id, shard.NoMap(r.cfg.Node)
	case !ok:
		return id, shard.Errorf(shard.CodeUnknownType, "no member hosts entity type %q", e.Type)
	}
	if err := ctx.Err(); err != nil {
		return id, shard.Errorf(shard.CodeTimeout, "%v", err)
	}
	return id, nil
}

// closing is the answer to what comes while the region ends.
func (r *Region) closing() *shard.Error {
	return shard.Errorf(shard.CodeClosed, "node %s is stopping", r.cfg.Node)
}

func asError(fault *shard.Error) error {
	if fault == nil {
		return nil
	}
	return fault
}

// here runs the command on this goroutine if this node owns the volatile shard now: no request id, since no answer can be
// lost. done is false when the ask has to take the long way.
func (a *ask) here(ctx context.Context, v *volatile) ([]byte, *shard.Error, bool) {
	d := route.At(a.region.view.Load(), a.region.self(), a.shard)
	if d.Action != route.Deliver {
		return nil, nil, false
	}
	a.call = call{routed: a.routed(d.Epoch), inline: true, to: a, token: a.attempt()}
	a.call.deadline, _ = ctx.Deadline()
	if fault := v.deliver(&a.call); fault != nil {
		return nil, fault, route.After(fault, d.Epoch).Verdict == route.GiveUp
	}
	if a.call.deadline.IsZero() && !a.answered() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.region.limits.Timeout)
		defer cancel()
	}
	if a.wait(ctx, d.Epoch) != answered {
		a.lent = true
		return nil, shard.Unknownf(shard.CodeTimeout, "no answer from shard %s: %v", a.shard, context.Cause(ctx)), true
	}
	return a.mu.reply, a.mu.fault, a.mu.fault == nil || route.After(a.mu.fault, d.Epoch).Verdict == route.GiveUp
}

// pursue sends the command until there is an answer for the caller.
func (a *ask) pursue(ctx context.Context) ([]byte, *shard.Error) {
	d, fault := a.enter(ctx)
	if fault != nil {
		return nil, fault
	}
	defer d.close(a.env.Request.Number)
	to := route.At(a.region.view.Load(), a.region.self(), a.shard)
	for {
		var next route.Retry
		switch to.Action {
		case route.Buffer:
			next, fault = a.buffer(ctx, to)
		default:
			var reply []byte
			reply, next, fault = a.try(ctx, d, to)
			if next.Verdict == 0 {
				return reply, fault
			}
		}
		if next.Verdict == route.GiveUp {
			return nil, a.settled(fault)
		}
		if to, fault = a.again(ctx, next, to, fault); fault != nil {
			return nil, a.settled(fault)
		}
	}
}

// enter takes a number, after waiting for a place if this session has too many open asks to the shard.
func (a *ask) enter(ctx context.Context) (*desk, *shard.Error) {
	session := a.region.cfg.Directory.Session()
	if session == 0 {
		return nil, shard.Errorf(shard.CodeUnavailable, "node %s is not registered with a coordinator yet", a.region.cfg.Node)
	}
	d := a.region.origin.desk(a.shard, session)
	select {
	case d.places <- struct{}{}:
	default:
		select {
		case d.places <- struct{}{}:
		case <-ctx.Done():
			return nil, shard.Errorf(shard.CodeOverloaded, "%d commands to shard %s are awaited already: %v", maxOpen, a.shard, context.Cause(ctx))
		case <-a.region.life.Done():
			return nil, a.region.closing()
		}
	}
	a.env.Request = shard.RequestID{Session: session, Number: d.number(a, &a.region.origin.numbers)}
	return d, nil
}

// try makes one attempt. A zero verdict means that reply and fault are the caller's.
func (a *ask) try(ctx context.Context, d *desk, to route.Decision) ([]byte, route.Retry, *shard.Error) {
	floor, open := d.floor(a.env.Request.Number)
	if !open {
		return nil, route.Retry{}, a.settled(passedOver)
	}
	a.env.Floor = floor
	a.post(ctx, to)
	ended := a.wait(ctx, to.Epoch)
	a.lent = a.lent || ended != answered
	switch ended {
	case answered:
	case nudged: // another owner: what becomes of this attempt is for the request id to tell
		a.maybe = true
		return nil, route.Retry{Verdict: route.Again}, nil
	case stopped:
		return nil, route.Retry{}, shard.Unknownf(shard.CodeClosed, "node %s is stopping", a.region.cfg.Node)
	default:
		return nil, route.Retry{}, shard.Unknownf(shard.CodeTimeout, "no answer from shard %s at %s: %v", a.shard, to.Node, context.Cause(ctx))
	}
	if a.mu.fault == nil {
		return a.mu.reply, route.Retry{}, nil
	}
	next := route.After(a.mu.fault, to.Epoch)
	if next.Verdict == route.GiveUp {
		return nil, route.Retry{}, a.settled(a.mu.fault)
	}
	a.maybe = a.maybe || a.mu.fault.Outcome == shard.Unknown
	return nil, next, a.mu.fault
}

// post hands the attempt to this node's host or to the lane of the owner's node. Neither looks at a call once it is answered;
// while an older attempt's may still be with one of them, the attempt gets a call of its own.
func (a *ask) post(ctx context.Context, to route.Decision) {
	c := &a.call
	if a.lent {
		c = &call{}
	}
	*c = call{routed: a.routed(to.Epoch), to: a, token: a.attempt()}
	c.deadline, _ = ctx.Deadline()
	if to.Action == route.Deliver {
		a.region.deliver(c)
	} else if p := a.region.peers.at(to.Addr); p != nil {
		p.calls.queue.put(c)
	}
}

func (a *ask) routed(epoch shard.Epoch) routed {
	return routed{env: a.env, shard: a.shard, epoch: epoch, tell: a.tell}
}

// buffer keeps the envelope while the shard has no owner.
func (a *ask) buffer(ctx context.Context, to route.Decision) (route.Retry, *shard.Error) {
	held := &call{routed: routed{env: a.env}}
	limits := Limits{ShardCalls: a.region.limits.Buffered, ShardBytes: a.region.limits.BufferedBytes}
	if a.region.origin.waiting.enter(held, &limits) != nil {
		return route.Retry{Verdict: route.GiveUp}, shard.Errorf(shard.CodeOverloaded, "too many envelopes wait for owners of their shards: Buffered or BufferedBytes is reached")
	}
	defer a.region.origin.waiting.leave(held)
	pause := time.NewTimer(unownedPause)
	defer pause.Stop()
	a.attempt()
	fault := unowned(to)
	now := route.At(a.region.view.Load(), a.region.self(), a.shard)
	if now.Action != route.Buffer {
		return route.Retry{Verdict: route.AgainAt}, fault // it changed before attempt reset the nudge
	}
	select {
	case <-a.signal:
	case <-pause.C:
	case <-ctx.Done():
		return route.Retry{Verdict: route.GiveUp}, fault
	}
	return route.Retry{Verdict: route.AgainAt}, fault
}

// unowned is the fault of a command whose shard has no owner.
func unowned(d route.Decision) *shard.Error {
	return &shard.Error{Code: shard.CodeUnavailable, Shard: d.Shard, Epoch: d.Epoch, Detail: "the shard has no owner: " + d.Reason.String()}
}

// again decides where the next attempt goes, after a pause where one is due. The last fault is the caller's when there
// is no time left for another attempt.
func (a *ask) again(ctx context.Context, next route.Retry, was route.Decision, last *shard.Error) (route.Decision, *shard.Error) {
	if next.Verdict == route.AgainAt && next.Addr != "" && next.Node != a.region.cfg.Node {
		return route.Decision{Action: route.Forward, Shard: a.shard, Epoch: next.Epoch, Node: next.Node, Addr: next.Addr}, nil
	}
	to := route.At(a.region.view.Load(), a.region.self(), a.shard)
	if next.Verdict != route.AgainAt && to.Action != route.Buffer && to.Epoch == was.Epoch && to.Node == was.Node {
		a.pause = min(max(2*a.pause, retryPause), unownedPause)
		wait := a.pause
		if next.Verdict == route.AfterMap && next.Epoch > to.Epoch {
			wait = unownedPause // the map will tell
		}
		pause := time.NewTimer(wait)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-a.signal:
		case <-ctx.Done():
			if last == nil {
				last = shard.Unknownf(shard.CodeTimeout, "no answer from shard %s: %v", a.shard, context.Cause(ctx))
			}
			return to, last
		}
		to = route.At(a.region.view.Load(), a.region.self(), a.shard)
	}
	if a.region.stopped() != nil {
		return to, a.region.closing()
	}
	return to, nil
}

// settled is the fault as the caller gets it. What only says that this attempt did nothing says too much when an earlier
// one may have done something; what the entity itself said about the request id holds for all attempts.
func (a *ask) settled(fault *shard.Error) *shard.Error {
	if !a.maybe || fault.Outcome == shard.Unknown {
		return fault
	}
	switch fault.Code {
	case shard.CodeRefused, shard.CodeFailed, shard.CodeUnknownCommand, shard.CodeInvalid, shard.CodeUnconfirmed:
		return fault
	}
	unsure := *fault
	unsure.Outcome = shard.Unknown
	return &unsure
}
