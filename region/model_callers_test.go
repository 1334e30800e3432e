package region_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"muster/entity"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A caller gives orders, one after the other: through a node, or as a node of its own that numbers them, sends them twice and repeats them.
type caller struct {
	m       *model
	random  *rand.Rand
	session shard.SessionID // 0 for one that asks through nodes
	number  uint64
	kept    []*settled // to be repeated
}

// settled is an order that was answered and may be asked for again.
type settled struct {
	book    *book
	deed    *deed
	session shard.SessionID
	number  uint64
	reply   []byte
}

// answerIn is how long anything may take that has no deadline.
const answerIn = 20 * time.Second

func newCaller(m *model, i int) *caller {
	c := &caller{m: m, random: rand.New(rand.NewPCG(m.seed, uint64(i+1)))}
	if i%2 == 1 {
		c.renew()
	}
	return c
}

// renew begins the caller's session, in the place of the one it has.
func (c *caller) renew() {
	c.m.g.change(func(d *shard.Delta) {
		c.m.g.sessions++
		if c.session != 0 {
			d.Ended = []shard.SessionID{c.session}
		}
		c.session, d.LastSession = c.m.g.sessions, c.m.g.sessions
		d.Sessions = []shard.Session{{ID: c.session, Node: "asker", Directory: "nowhere"}}
	})
}

func (c *caller) run() {
	for range modelOrders {
		select {
		case <-c.m.halt:
			return
		default:
		}
		if c.session != 0 && c.random.IntN(12) == 0 {
			c.renew()
		}
		b := c.m.book(c.random)
		d := &deed{order: c.draw(), began: now()}
		if c.session != 0 {
			c.insist(b, d)
		} else {
			c.ask(b, d)
		}
		d.ended = now()
		b.note(d)
		c.m.done.Add(1)
		if len(c.kept) > 0 && c.random.IntN(3) == 0 {
			c.repeat()
		}
	}
}

// draw makes an order.
func (c *caller) draw() order {
	o := order{Serial: c.m.serial.Add(1)}
	if c.random.IntN(4) > 0 {
		o.Events = 1 + c.random.IntN(2)
	}
	switch c.random.IntN(40) {
	case 0:
		o.Pad = 300 << 10 // more than a frame
	case 1:
		o.Pad = shard.MaxPayload * 3 / 4 // with a second one too much, and in JSON at once
	case 2:
		o.Events = entity.MaxEvents + 1
	case 3, 4, 5, 6:
		o.Pad = c.random.IntN(1 << 10)
	case 7, 8:
		o.Reply = 3000 + c.random.IntN(3000) // some too large to be kept
	}
	if c.random.IntN(4) == 0 {
		o.Pause = time.Duration(c.random.IntN(4000)) * time.Microsecond
	}
	if c.random.IntN(80) == 0 {
		o.Pause = time.Duration(50+c.random.IntN(400)) * time.Millisecond // beyond a term, and most hand-overs
	}
	o.Ends = []ending{answers, answers, answers, answers, answers, answers, answers, refuses, fails, panics, vanishes}[c.random.IntN(11)]
	return o
}

// ask gives the order through a node.
func (c *caller) ask(b *book, d *deed) {
	l := c.m.lives[c.random.IntN(modelNodes)].Load()
	ctx, cancel, limit := c.deadline()
	defer cancel()
	var err error
	switch c.random.IntN(10) {
	case 0:
		d.how = "one way"
		if err = b.of.order.OneWay(ctx, l.region, b.entity, d.order); err == nil {
			return // nobody will hear
		}
	case 1:
		d.how = "told"
		err = b.of.order.Tell(ctx, l.region, b.entity, d.order)
	default:
		d.how = "asked"
		var p page
		if p, err = b.of.order.Ask(ctx, l.region, b.entity, d.order); err == nil {
			d.saw = [][]uint64{p.Marks}
		}
	}
	if took := now() - d.began; took > limit+answerIn/2 {
		c.m.t.Errorf("order %d %s was answered after %s, its deadline was %s: %v", d.Serial, d.how, took, limit, err)
	}
	d.story = append(d.story, fmt.Sprint(err))
	fault := shard.As(err)
	switch {
	case l.killed.Load(): // what it says may be of what it has forgotten
		d.saw = nil
	case fault == nil:
		d.fate = done
	case fault.Outcome == shard.NotApplied && !(b.of.Spec().Volatile && d.Ends == answers):
		d.fate = absent
	}
}

// deadline draws a context, and how long it lasts at most.
func (c *caller) deadline() (context.Context, context.CancelFunc, time.Duration) {
	limit := 3 * time.Second
	switch c.random.IntN(8) {
	case 0:
		limit = time.Duration(c.random.IntN(30)) * time.Millisecond
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		limit = time.Duration(c.random.IntN(20)) * time.Millisecond
		timer := time.AfterFunc(limit, cancel)
		return ctx, func() { timer.Stop(); cancel() }, limit
	case 2:
		return context.Background(), func() {}, limit // by Limits.Timeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	return ctx, cancel, limit
}

// floor is the lowest number that may still be repeated.
func (c *caller) floor() uint64 {
	floor := c.number
	for _, s := range c.kept {
		if s.session == c.session {
			floor = min(floor, s.number)
		}
	}
	return floor
}

// A told is what came of one attempt: a reply or a fault, or the end of the stream.
type told struct {
	reply []byte
	fault *shard.Error
	lost  error
}

func (a told) err() error {
	if a.fault != nil {
		return a.fault
	}
	return a.lost
}

func (a told) String() string {
	if err := a.err(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d bytes", len(a.reply))
}

// send sends the orders in one frame, under one number, by the newest map, and returns the epoch and what came of each; none when nobody
// serves the shard.
func (c *caller) send(b *book, number uint64, orders ...order) (shard.Epoch, []told) {
	p := c.m.g.placement(b.shard)
	if p == nil || p.Status != shard.Active {
		return 0, nil
	}
	return p.Epoch, c.sendTo(b, p, request{c.session, number, c.floor()}, orders...)
}

// request is an id, and the lowest number of the session that is still awaited.
type request struct {
	session       shard.SessionID
	number, floor uint64
}

func (c *caller) sendTo(b *book, p *shard.Placement, r request, orders ...order) []told {
	heard := make([]told, len(orders))
	end := func(err error) []told {
		for i := range heard {
			if heard[i].reply == nil && heard[i].fault == nil {
				heard[i].lost = err
			}
		}
		return heard
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	s, err := wire.NewPeerClient(c.m.port.Peer(c.m.addr(p.Node))).Deliver(ctx)
	if err != nil {
		return end(err)
	}
	f := &wire.EnvelopeFrame{}
	for i, o := range orders {
		payload, _ := json.Marshal(o)
		e := &wire.Envelope{Call: uint64(i + 1), Type: string(b.shard.Type), Shard: uint32(b.shard.Number), Epoch: uint64(p.Epoch),
			Entity: string(b.entity), Command: "order", Payload: payload}
		if c.random.IntN(4) == 0 {
			e.TimeoutMicros = int64(1 + c.random.IntN(30_000))
		}
		f.Envelopes = append(f.Envelopes, by(e, r.session, r.number, r.floor))
	}
	if err := s.Send(f); err != nil {
		return end(err)
	}
	for range orders {
		a, err := s.Recv()
		if ctx.Err() != nil {
			c.m.t.Errorf("request %d of session %d to %s in epoch %d was not answered for %s; order %d", r.number, r.session, b.shard, p.Epoch, answerIn, orders[0].Serial)
		}
		if err != nil {
			return end(err)
		}
		for _, one := range a.Answers {
			heard[one.Call-1] = told{reply: one.Payload, fault: transport.ErrorOf(one.Fault)}
			if one.Fault == nil && one.Payload == nil {
				heard[one.Call-1].reply = []byte{}
			}
		}
		if all := end(nil); complete(all) {
			return all
		}
	}
	return end(errors.New("too few answers"))
}

func complete(all []told) bool {
	for _, a := range all {
		if a.reply == nil && a.fault == nil {
			return false
		}
	}
	return true
}

// passing reports whether the fault is of the attempt and not of the request.
func passing(f *shard.Error) bool {
	switch f.Code {
	case shard.CodeRefused, shard.CodeInvalid:
		return false
	case shard.CodeFailed:
		return strings.HasPrefix(f.Detail, "load entity") // by a flaw: the order did not run, and the next attempt may
	}
	return true
}

// insist gives the order under a number until it is decided, or for some time.
func (c *caller) insist(b *book, d *deed) {
	c.number++
	d.how = fmt.Sprintf("%d of session %d", c.number, c.session)
	maybe := false
	for giveUp := d.began + 4*time.Second; now() < giveUp; c.pause() {
		twins := []order{d.order}
		for c.random.IntN(4) == 0 {
			twins = append(twins, d.order)
		}
		gaps := c.m.gaps.Load()
		epoch, heard := c.send(b, c.number, twins...)
		for _, a := range heard {
			d.story = append(d.story, fmt.Sprintf("[%d] %s", epoch, a))
			maybe = maybe || a.lost != nil || a.fault != nil && a.fault.Outcome == shard.Unknown
			if shard.CodeOf(a.err()) == shard.CodeRequestReused {
				c.m.t.Errorf("order %d, %s of %s: %s", d.Serial, d.how, b.entity, a)
			}
		}
		for _, a := range heard {
			if a.lost != nil || a.fault != nil && passing(a.fault) {
				continue
			}
			c.decided(b, d, a, epoch, gaps, maybe)
			return
		}
		if c.random.IntN(10) == 0 {
			break // it gives up
		}
	}
	if !maybe {
		d.fate = absent
	}
}

// decided notes what the order came to, and asks again.
func (c *caller) decided(b *book, d *deed, a told, epoch shard.Epoch, gaps uint64, maybe bool) {
	quick := b.of.Spec().Volatile
	switch {
	case a.fault == nil:
		d.fate = done
		c.saw(d, a)
	case !maybe || !quick: // a volatile one may have happened in a reign that is over
		d.fate = absent
	}
	d.ended = now()
	if c.random.IntN(3) == 0 {
		c.same(b, d, a, epoch, gaps)
	}
	if a.fault == nil && d.Events > 0 && !quick && len(c.kept) < 3 {
		c.kept = append(c.kept, &settled{b, d, c.session, c.number, a.reply})
	}
}

// saw notes a reply.
func (c *caller) saw(d *deed, a told) {
	var p page
	if err := json.Unmarshal(a.reply, &p); err != nil {
		c.m.t.Errorf("order %d: reply %q: %v", d.Serial, a.reply, err)
	}
	d.saw = append(d.saw, p.Marks)
}

// same asks at once for what was just answered, of the same primary.
func (c *caller) same(b *book, d *deed, first told, epoch shard.Epoch, gaps uint64) {
	again, heard := c.send(b, c.number, d.order)
	if again != epoch || len(heard) == 0 || b.of.Spec().Volatile && c.m.gaps.Load() != gaps {
		for _, a := range heard {
			if a.fault == nil && a.lost == nil { // it may be another reign's, where it is new
				d.fate = open
				c.saw(d, a)
			}
		}
		return
	}
	a := heard[0]
	d.story = append(d.story, "again: "+a.String())
	switch {
	case a.lost != nil || a.fault != nil && passing(a.fault):
	case (a.fault == nil) != (first.fault == nil), a.fault != nil && *a.fault != *first.fault, !bytes.Equal(a.reply, first.reply):
		c.m.t.Errorf("order %d, %s of %s, was answered %s (%.200q) and then %s (%.200q)", d.Serial, d.how, b.entity, first, first.reply, a, a.reply)
	}
}

// repeat asks anew for an order that was confirmed some time ago, wherever that leads by now, or for another under the same number. Neither
// happens.
func (c *caller) repeat() {
	i := c.random.IntN(len(c.kept))
	s := c.kept[i]
	o := s.deed.order
	if c.random.IntN(4) == 0 {
		o = order{Serial: c.m.serial.Add(1), Events: 1}
		s.book.note(&deed{order: o, how: "in the place of " + s.deed.how, fate: absent, began: now(), ended: now()})
	}
	p, floor := c.m.g.placement(s.book.shard), c.floor()
	if p == nil || p.Status != shard.Active {
		return
	}
	if s.session != c.session {
		floor = 0
	}
	heard := c.sendTo(s.book, p, request{s.session, s.number, floor}, o)
	for _, a := range heard {
		switch {
		case a.lost != nil || a.fault != nil && passing(a.fault):
		case o.Serial == s.deed.Serial && a.fault == nil && bytes.Equal(a.reply, s.reply):
		default:
			c.m.t.Errorf("request %d of session %d of entity %s, for order %d that was answered %.200q, is answered %s (%.200q) when order %d comes",
				s.number, s.session, s.book.entity, s.deed.Serial, s.reply, a, a.reply, o.Serial)
		}
	}
	if c.random.IntN(2) == 0 {
		c.kept = append(c.kept[:i], c.kept[i+1:]...)
	}
}

// pause lets some time pass before the next attempt.
func (c *caller) pause() {
	pause := time.NewTimer(time.Duration(1+c.random.IntN(10)) * time.Millisecond)
	defer pause.Stop()
	<-pause.C
}
