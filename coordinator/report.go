package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

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
	countsEvery   = 5 * time.Second // how often a node tells the leader what its shards are asked
)

// reports carries what this node finds about its copies to the leader, in batches: what comes while a call is under way goes with
// the next. It is not gathered for longer, because a shard that is handed over waits for two reports, one after the other.
// The same report twice in a batch is one.
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
	counts := time.NewTicker(countsEvery)
	defer counts.Stop()
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
		case <-counts.C:
			r.count(ctx)
		case <-news:
		}
	}
}

// count tells the leader what this node's shards were asked. It is lost when there is none: the next count has it.
func (r *reports) count(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	from := plan.Reporter{Directory: r.c.cfg.Directory.ID(), Session: r.c.Session()}
	for samples := range slices.Chunk(r.c.cfg.Counts(), reportsSent) {
		err := r.c.atLeader(ctx, leaderCall{
			local: func(_ context.Context, v *voter) error { return v.takeCounts(from.Session, samples) },
			remote: func(ctx context.Context, g wire.GroupClient) error {
				_, err := g.Report(ctx, countRequest(from, samples))
				return err
			},
		})
		if err != nil {
			r.c.log.Debug("what shards are asked was not taken", "error", err)
		}
	}
}

func countRequest(from plan.Reporter, samples []plan.Sample) *wire.ReportRequest {
	req := &wire.ReportRequest{Directory: string(from.Directory), Session: uint64(from.Session)}
	for _, s := range samples {
		req.Loads = append(req.Loads, &wire.ShardLoad{
			Type: string(s.Shard.Type), Shard: uint32(s.Shard.Number), Messages: s.Messages, Bytes: s.Bytes, Records: s.Records,
		})
	}
	return req
}

func countsOf(req *wire.ReportRequest) []plan.Sample {
	samples := make([]plan.Sample, len(req.Loads))
	for i, l := range req.Loads {
		id := shard.ID{Type: shard.TypeName(l.Type), Number: shard.Number(l.Shard)}
		samples[i] = plan.Sample{Shard: id, Messages: l.Messages, Bytes: l.Bytes, Records: l.Records}
	}
	return samples
}

// takeCounts hands what shards are asked to the leader's loop. It stays in its memory: nothing of it goes into the log.
func (v *voter) takeCounts(from shard.SessionID, samples []plan.Sample) error {
	if len(samples) == 0 {
		return nil
	}
	if !v.leading.isReady() {
		return v.translate(raft.ErrNotLeader)
	}
	now, view := v.c.clock.now(), v.machine.state().View
	v.leading.tell(func(d *plan.Driver) { d.Observe(now, view, from, samples) })
	return nil
}

func (r *reports) send(ctx context.Context, batch []shard.Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	from := plan.Reporter{Directory: r.c.cfg.Directory.ID(), Session: r.c.Session()}
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

func reportRequest(from plan.Reporter, batch []shard.Report) *wire.ReportRequest {
	req := &wire.ReportRequest{Directory: string(from.Directory), Session: uint64(from.Session)}
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

// takeReports proposes what reports come to, and tells the loop what it should know. It does not wait for what becomes of it: its
// sender sees that in the map, or reports again, and has more to report meanwhile.
func (v *voter) takeReports(ctx context.Context, from plan.Reporter, batch []shard.Report) error {
	if err := v.leading.awaitReady(ctx); err != nil {
		return err
	}
	news, err := plan.Sort(v.machine.state().View, from, batch, v.leading.heirs.has)
	if err != nil {
		return err
	}
	if len(news.Facts) > 0 {
		v.leading.tell(func(d *plan.Driver) {
			for _, one := range news.Facts {
				d.Report(one)
			}
		})
	}
	return v.proposeNews(news.Commands)
}

func (v *voter) proposeNews(commands []fsm.Command) error {
	if len(commands) == 0 {
		return nil
	}
	w, err := v.proposer.enqueue(false, commands...)
	if err != nil {
		return err
	}
	v.life.Go(func() { v.noteRefused(w) })
	return nil
}

// noteRefused writes down what was not done. Mostly the map of the report's sender was behind.
func (v *voter) noteRefused(w *proposal) {
	verdicts, _, err := v.proposer.wait(v.life.ctx, w)
	if err != nil {
		v.c.log.Debug("reports came to nothing", "error", err)
		return
	}
	for _, verdict := range verdicts {
		for _, f := range append(verdict.Faults, verdict.Fault) {
			if f != nil {
				v.c.log.Debug("a report was refused", "error", f)
			}
		}
	}
}
