package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	reportsQueued = 65_536          // distinct reports waiting; more are dropped, their senders repeat them
	reportsSent   = fsm.MaxItems    // in one call
	reportTimeout = 2 * time.Second // a report that takes longer is repeated by its sender
	reportGather  = 2 * time.Millisecond
)

// reports carries what this node finds about its copies to the leader, in batches. The same report twice in a batch is one.
type reports struct {
	c    *Coordinator
	news bell
	mu   struct {
		sync.Mutex
		waiting map[shard.Report]struct{}
		dropped uint64
	}
}

func newReports(c *Coordinator) *reports {
	r := &reports{c: c}
	r.mu.waiting = map[shard.Report]struct{}{}
	return r
}

func (r *reports) add(one shard.Report) {
	r.mu.Lock()
	if len(r.mu.waiting) < reportsQueued {
		r.mu.waiting[one] = struct{}{}
	} else {
		r.mu.dropped++
	}
	r.mu.Unlock()
	r.news.ring()
}

// take empties what waits, in order of shards, so that runs are alike.
func (r *reports) take() []shard.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := make([]shard.Report, 0, len(r.mu.waiting))
	for one := range r.mu.waiting {
		batch = append(batch, one)
	}
	clear(r.mu.waiting)
	slices.SortFunc(batch, func(a, b shard.Report) int { return a.Shard.Compare(b.Shard) })
	return batch
}

func (r *reports) run() {
	ctx := r.c.life.ctx
	for {
		news := r.news.listen()
		batch := r.take()
		for chunk := range slices.Chunk(batch, reportsSent) {
			if err := r.send(ctx, chunk); err != nil {
				r.c.log.Debug("reports were not taken", "reports", len(chunk), "error", err)
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
			pause(ctx, reportGather) // a host that starts reports on all its shards at once
		}
	}
}

func (r *reports) send(ctx context.Context, batch []shard.Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	from := reporter{r.c.cfg.Node, r.c.cfg.Directory.ID(), r.c.Session()}
	return r.c.atLeader(ctx, leaderCall{
		local: func(ctx context.Context, v *voter) error { return v.takeReports(ctx, from, batch) },
		remote: func(ctx context.Context, g wire.GroupClient) error {
			reply, err := g.Report(ctx, reportRequest(from, batch))
			if err != nil {
				return transport.Typed(err)
			}
			if reply.Fault != nil {
				return transport.ErrorOf(reply.Fault)
			}
			return nil
		},
	})
}

// reporter is the process that found something.
type reporter struct {
	node      shard.NodeID
	directory shard.DirectoryID
	session   shard.SessionID
}

func reportRequest(from reporter, batch []shard.Report) *wire.ReportRequest {
	req := &wire.ReportRequest{Directory: string(from.directory), Session: uint64(from.session)}
	for _, one := range batch {
		req.Reports = append(req.Reports, &wire.Report{
			Kind: uint32(one.Kind), Type: string(one.Shard.Type), Shard: uint32(one.Shard.Number), Copy: uint64(one.Copy),
			Epoch: uint64(one.Epoch), Version: uint64(one.Version), Detail: one.Detail, Copies: copyNumbers(one.Copies),
		})
	}
	return req
}

func copyNumbers(set shard.CopySet) []uint64 {
	ids := set.IDs()
	numbers := make([]uint64, len(ids))
	for i, id := range ids {
		numbers[i] = uint64(id)
	}
	return numbers
}

func copySet(numbers []uint64) (shard.CopySet, error) {
	ids := make([]shard.CopyID, len(numbers))
	for i, n := range numbers {
		ids[i] = shard.CopyID(n)
	}
	return shard.NewCopySet(ids...)
}

// reportsOf fails with CodeInvalid on a set of copies that cannot be.
func reportsOf(req *wire.ReportRequest) ([]shard.Report, error) {
	batch := make([]shard.Report, len(req.Reports))
	for i, w := range req.Reports {
		copies, err := copySet(w.Copies)
		if err != nil {
			return nil, err
		}
		batch[i] = shard.Report{
			Kind: shard.ReportKind(w.Kind), Shard: shard.ID{Type: shard.TypeName(w.Type), Number: shard.Number(w.Shard)},
			Copy: shard.CopyID(w.Copy), Epoch: shard.Epoch(w.Epoch), Version: shard.ConfigVersion(w.Version), Detail: w.Detail,
			Copies: copies,
		}
	}
	return batch, nil
}

// takeReports puts reports on copies, wanted changes of C and hand-overs into the log, and tells the loop of primaries that
// are established or cannot go on. A primary is believed only when it speaks from the session that the placement names.
func (v *voter) takeReports(ctx context.Context, from reporter, batch []shard.Report) error {
	if err := v.leading.awaitReady(ctx); err != nil {
		return err
	}
	var n news
	view := v.machine.state().View
	for _, one := range batch {
		p := view.Placement(one.Shard)
		switch leads := p != nil && p.Session == from.session && p.Epoch == one.Epoch && from.session != 0; {
		case one.Kind < shard.ReportReady || one.Kind > shard.ReportStalledHandoff:
			return shard.Invalid("report of unknown kind %d", one.Kind)
		case one.Kind == shard.ReportReady:
			n.ready = append(n.ready, fsm.CopyItem{Shard: one.Shard, Copy: one.Copy, Directory: from.directory})
		case one.Kind == shard.ReportLost:
			n.lost = append(n.lost, fsm.CopyItem{Shard: one.Shard, Copy: one.Copy, Directory: from.directory})
		case leads:
			n.ofPrimary(p, one)
		}
	}
	if len(n.facts) > 0 {
		v.leading.tell(func(d *plan.Driver) {
			for _, one := range n.facts {
				d.Report(one)
			}
		})
	}
	return v.proposeNews(ctx, n.commands())
}

// news is what a batch of reports comes to.
type news struct {
	ready, lost []fsm.CopyItem
	changes     []fsm.Reconfiguration
	handings    []fsm.Handing
	facts       []shard.Report // for the loop
}

// ofPrimary sorts in what the primary of a placement reports.
func (n *news) ofPrimary(p *shard.Placement, one shard.Report) {
	switch {
	case one.Kind == shard.ReportReconfig && one.Copies != shard.CopySet{}:
		n.changes = append(n.changes, fsm.Reconfiguration{
			Shard: one.Shard, Epoch: one.Epoch, Version: one.Version, Session: p.Session,
			Copies: one.Copies.IDs(), WriteQuorum: p.WriteQuorum,
		})
	case one.Kind == shard.ReportHandoff && (one.Copy != 0 || one.Detail != ""):
		h := fsm.Handing{Shard: one.Shard, Epoch: one.Epoch, Version: one.Version, Session: p.Session, To: one.Copy}
		if one.Copy == 0 {
			h.Node = shard.NodeID(one.Detail) // a volatile shard goes to a node
		}
		n.handings = append(n.handings, h)
	default:
		n.facts = append(n.facts, one)
	}
}

// commands returns the commands, those first that callers wait for.
func (n *news) commands() []fsm.Command {
	var commands []fsm.Command
	if len(n.handings) > 0 {
		commands = append(commands, &fsm.HandOver{Items: n.handings})
	}
	if len(n.changes) > 0 {
		commands = append(commands, &fsm.Reconfig{Items: n.changes})
	}
	if len(n.ready) > 0 {
		commands = append(commands, &fsm.CopyReady{Items: n.ready})
	}
	if len(n.lost) > 0 {
		commands = append(commands, &fsm.CopyLost{Items: n.lost})
	}
	return commands
}

func (v *voter) proposeNews(ctx context.Context, commands []fsm.Command) error {
	if len(commands) == 0 {
		return nil
	}
	verdicts, _, err := v.proposer.propose(ctx, commands...)
	if err != nil {
		return err
	}
	for _, verdict := range verdicts {
		if err := verdict.Err(); err != nil {
			return err
		}
		for _, f := range verdict.Faults {
			if f != nil {
				v.c.log.Debug("a report was refused", "error", f) // its sender's map is behind
			}
		}
	}
	return nil
}
