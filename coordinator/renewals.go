package coordinator

import (
	"cmp"
	"context"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// gatherShare: a renewal waits for others for so small a part of its lease at the most, since its node gives it up after half.
const gatherShare = 20

// renewRequest is one session's renewal, waiting for the entry it goes into.
type renewRequest struct {
	renewal fsm.Renewal
	bears   time.Duration // to wait for others, of its lease
	done    chan proposed // of one; its only verdict has the fault of this renewal
}

// renew puts a renewal into the next entry of renewals. When the node should renew again the leader spreads on a grid, so that nodes
// come to share entries.
func (l *leading) renew(ctx context.Context, r fsm.Renewal) (extension, error) {
	if err := l.awaitReady(ctx); err != nil {
		return extension{}, err
	}
	arrived := l.v.c.clock.now()
	bears := cmp.Or(r.Lengths.Lease, l.v.c.cfg.Times.Lease) / gatherShare
	r.Lengths = l.unsaid(r)
	w := &renewRequest{r, bears, make(chan proposed, 1)}
	select {
	case l.renewals <- w:
	default:
		return extension{}, shard.Errorf(shard.CodeOverloaded, "%d renewals wait already", cap(l.renewals))
	}
	select {
	case p := <-w.done:
		if p.err != nil {
			return extension{}, p.err
		}
		if r.Lengths != (fsm.Lengths{}) {
			l.compare(r.Session)
		}
		return extension{p.index, plan.NextRenewal(arrived, l.v.c.cfg.Times.Renew), l.waited(r.Session)}, nil
	case <-ctx.Done():
		return extension{}, shard.Unknownf(shard.CodeTimeout, "the renewal was not applied in time")
	}
}

// gather makes entries of renewals for as long as this node leads. An entry waits for others for no longer than each renewal in it bears.
func (l *leading) gather(work *life) {
	long := min(plan.GatherRenewals, l.v.c.cfg.Times.Renew/4)
	for {
		var batch []*renewRequest
		select {
		case w := <-l.renewals:
			batch = append(batch, w)
		case <-work.done():
			return
		}
		patience := min(long, batch[0].bears)
		full, end := time.NewTimer(patience), time.Now().Add(patience)
		for len(batch) < fsm.MaxItems && full != nil {
			select {
			case w := <-l.renewals:
				batch = append(batch, w)
				if sooner := time.Now().Add(w.bears); sooner.Before(end) {
					end = sooner
					full.Reset(w.bears)
				}
				continue
			case <-full.C:
			case <-work.done():
			}
			full.Stop()
			full = nil
		}
		l.submitRenewals(work, batch)
	}
}

// submitRenewals proposes one entry, which holds nothing else, and gives everyone their answer.
func (l *leading) submitRenewals(work *life, batch []*renewRequest) {
	command := &fsm.Renew{Time: time.Now().UnixMilli()}
	for _, w := range batch {
		command.Items = append(command.Items, w.renewal)
	}
	p, err := l.v.proposer.enqueue(true, command)
	finish := func() {
		var verdicts []fsm.Verdict
		var index shard.Index
		if err == nil {
			verdicts, index, err = l.v.proposer.wait(work.ctx, p)
		}
		for i, w := range batch {
			answer := proposed{index: index, err: shard.As(err)}
			if err == nil && verdicts[0].Fault != nil {
				answer.err = verdicts[0].Fault
			} else if err == nil {
				answer.err = verdicts[0].Faults[i]
			}
			w.done <- answer
		}
	}
	if !work.Go(finish) {
		err = shard.Unknownf(shard.CodeNotLeader, "this node leads no more")
		finish()
	}
}
