package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/fsm"
)

const transferTimeout = time.Second // for handing over the lead; it takes about a millisecond

// closing is the end of a coordinator, which comes once.
type closing struct {
	once sync.Once
	err  error
}

// Close takes the node out of the group in good order: it says good-bye, so that nobody waits for the lease, hands over
// the lead, and stops Raft. The caller has stopped serving shards before, and closes the port after. It is safe to call more than
// once and after a failed Start.
func (c *Coordinator) Close(ctx context.Context) error {
	c.closing.once.Do(func() {
		c.depart(ctx)
		c.transfer(ctx)
		c.closing.err = c.stop()
	})
	return c.closing.err
}

// Kill stops everything as a crash would: no good-bye, no transfer.
func (c *Coordinator) Kill() {
	c.closing.once.Do(func() { c.closing.err = c.stop() })
}

func (c *Coordinator) depart(ctx context.Context) {
	c.session.life.end() // or it would open another session
	id := c.Session()
	if id == 0 || c.Err() != nil || c.View().Ended(id) {
		return
	}
	c.session.yield()                                            // nothing acts on it any more
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Times.Lease/2) // without an answer the lease runs out by itself
	defer cancel()
	if _, _, err := c.proposeSurely(ctx, &fsm.Depart{Session: id}); err != nil {
		c.log.Info("the group could not be told of the departure; its lease will run out", "session", id, "error", err)
	}
}

// transfer hands the lead to another voter. A group of one has nobody, and says so as an error.
func (c *Coordinator) transfer(ctx context.Context) {
	v := c.voter.Load()
	if v == nil || !v.leads() {
		return
	}
	if err := answered(ctx, v.raft.Load().LeadershipTransfer(), transferTimeout); err != nil {
		c.log.Debug("the lead was not handed over", "error", err)
	}
}

// stop ends every goroutine and closes the store. The streams to and from other nodes end before Raft does.
func (c *Coordinator) stop() error {
	c.session.life.end()
	c.life.end()
	c.opening.Lock() // no Form opens a store any more
	defer c.opening.Unlock()
	var faults []error
	for _, v := range []*voter{c.voter.Load(), c.opening.newcomer} {
		if v != nil {
			faults = append(faults, v.close())
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("close the coordinator of %s: %w", c.cfg.Node, err)
	}
	return nil
}
