package region

import (
	"context"
	"errors"
	"sync"
	"time"

	"muster/entity"
	"muster/shard"
)

// A run is a batch of one entity's calls that a handler goroutine takes through the cell, in order. The host may not
// touch the cell until the run has ended.
type run struct {
	host  *host
	term  *term // of leadership that it began in
	of    *resident
	cell  *entity.Cell
	calls []*call
	done  int // of calls
	every int // records between snapshots, 0 for none
}

// runs keeps the runs that are over for the next ones. Owned by the host.
type runs struct{ spare []*run }

const maxSpareRuns = 64

func (s *runs) next() *run {
	n := len(s.spare)
	if n == 0 {
		return new(run)
	}
	r := s.spare[n-1]
	s.spare = s.spare[:n-1]
	return r
}

// over takes back a run whose end the host has dealt with: neither its goroutine nor its calls look at it any more.
func (s *runs) over(r *run) {
	if len(s.spare) < maxSpareRuns {
		*r = run{}
		s.spare = append(s.spare, r)
	}
}

// work runs the handlers. It posts each outcome as it comes, so a slow handler holds up only those behind it. Once the last is
// posted the run is the host's.
func (r *run) work() {
	over := false
	defer func() {
		if !over {
			r.finish()
		}
	}()
	for r.done < len(r.calls) && !r.cell.Spoiled() {
		c := r.calls[r.done]
		r.handle(c)
		r.done++
		if r.done < len(r.calls) && !r.cell.Spoiled() {
			r.host.finished(c, nil)
			continue
		}
		over = true
		r.host.finished(c, r)
		return
	}
}

// finish ends a run whose handler ended its goroutine instead of returning.
func (r *run) finish() {
	c := r.calls[r.done]
	c.fault = shard.Errorf(shard.CodeFailed, "the handler of %s.%s ended its goroutine", c.env.Type, c.env.Command)
	r.done++
	r.host.finished(c, r)
}

func (r *run) handle(c *call) {
	if c.late() {
		c.fault = shard.Errorf(shard.CodeTimeout, "the deadline passed before the command ran")
		return
	}
	out, err := handled(r.term.life, r.cell, c)
	c.seq = r.cell.Seq()
	if err != nil {
		c.fault = shard.As(err)
		var p *entity.Panic
		if errors.As(err, &p) {
			r.host.log.Error("handler panicked", "entity", c.env.Entity, "command", c.env.Command, "panic", p.Value, "stack", string(p.Stack))
		}
		return
	}
	c.outcome = out
	if r.every > 0 && len(out.Events) > 0 && c.seq >= r.of.snapped+shard.Seq(r.every) {
		r.snapshot(c)
	}
}

// snapshot takes the state after c. The host proposes it once c's record is confirmed.
func (r *run) snapshot(c *call) {
	r.of.snapped = c.seq
	state, err := r.cell.Snapshot()
	switch limit := r.host.region.limits.Snapshot; {
	case err != nil:
		r.host.log.Warn("snapshot failed", "entity", c.env.Entity, "error", err)
	case len(state) > limit:
		r.host.log.Warn("snapshot is too large, none is kept", "entity", c.env.Entity, "bytes", len(state), "limit", limit)
	default:
		c.state = state
	}
}

// handled runs a command's handler, under a context that ends with the leadership of its shard and at the caller's deadline.
func handled(life context.Context, cell *entity.Cell, c *call) (entity.Outcome, error) {
	if c.deadline.IsZero() {
		return cell.Handle(life, c.env)
	}
	ctx := &handlerContext{life: life, deadline: c.deadline}
	defer ctx.end()
	return cell.Handle(ctx, c.env)
}

// A handlerContext is what a handler gets that has a deadline. The timer for that is made only if the handler looks.
type handlerContext struct {
	life     context.Context
	deadline time.Time
	mu       struct {
		sync.Mutex
		inner  context.Context
		cancel context.CancelFunc
		ended  bool
	}
}

func (c *handlerContext) Deadline() (time.Time, bool) { return c.deadline, true }
func (c *handlerContext) Value(key any) any           { return c.life.Value(key) }
func (c *handlerContext) Done() <-chan struct{}       { return c.context().Done() }
func (c *handlerContext) Err() error                  { return c.context().Err() }

func (c *handlerContext) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.inner == nil {
		c.mu.inner, c.mu.cancel = context.WithDeadline(c.life, c.deadline)
		if c.mu.ended {
			c.mu.cancel()
		}
	}
	return c.mu.inner
}

// end releases the timer, if there is one.
func (c *handlerContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ended = true
	if c.mu.cancel != nil {
		c.mu.cancel()
	}
}
