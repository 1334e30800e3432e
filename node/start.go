package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/coordinator"
	"muster/journal"
	"muster/region"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// journalFile is the node's journal in its data directory.
const journalFile = "journal.db"

// giveUp bounds how long a Start that failed takes to say good-bye to the group.
const giveUp = 5 * time.Second

// Start starts a node and returns when it is a registered member with a current map, and as many members are up as
// Config.RequiredQuorum and the group's own gate (SetRequiredQuorum) ask for. The shards it hosts may become active only
// later; asks wait for them.
//
// It gives up when ctx ends, and whatever the reason of a failure, nothing stays behind but the data directory: no
// goroutine, no open port, no lock, no session.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("start node %q: %w", cfg.ID, err)
	}
	n := &Node{cfg: cfg.withDefaults()}
	n.stop.failed, n.stop.begun = make(chan struct{}), make(chan struct{})
	n.stop.done, n.stop.watched = make(chan struct{}), make(chan struct{})
	close(n.stop.watched) // until run starts the goroutine
	if err := n.build(); err != nil {
		n.Kill()
		return nil, fmt.Errorf("start node %s: %w", cfg.ID, err)
	}
	if err := n.run(ctx); err != nil {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUp)
		defer cancel()
		if stopErr := n.Shutdown(bye); stopErr != nil {
			n.cfg.Logger.Warn("the node that did not start did not stop cleanly either", "node", cfg.ID, "error", stopErr)
		}
		return nil, fmt.Errorf("start node %s: %w", cfg.ID, err)
	}
	return n, nil
}

// build opens and makes the parts, each after those it rests on. Nothing speaks with other nodes yet.
func (n *Node) build() error {
	// The directory comes first: its lock proves that no other process works on the data below it.
	directory, err := coordinator.OpenDirectory(n.cfg.Dir)
	if err != nil {
		return err
	}
	n.parts.add(part{name: "data directory", close: func(context.Context) error { return directory.Close() }})

	// The port is bound before anything is opened that takes long, and before anyone is told of an address: with
	// port 0 the address is known only now. It accepts nobody until it serves.
	n.port, err = transport.Listen(n.cfg.port())
	if err != nil {
		return err
	}
	n.parts.add(part{name: "port", close: n.port.Close})

	// The journal knows the directory by its UUID, so that a file that belongs elsewhere is noticed. What it reads it shows the
	// region that is to come.
	logs := region.NewLogs()
	n.journal, err = journal.Open(directory.Path(journalFile), journal.Options{
		Logger: n.cfg.Logger.Named("journal"), Directory: directory.ID(), SyncDelay: n.cfg.Tuning.SyncDelay, Reader: logs.Reader,
	})
	if err != nil {
		return withRemedy(err)
	}
	n.parts.add(part{name: "journal", close: func(context.Context) error { return n.journal.Close() }})
	return n.connect(directory, logs)
}

// withRemedy adds to the error of a journal that is damaged as a whole what can be done about it.
func withRemedy(err error) error {
	var damaged *journal.DamagedError
	if !errors.As(err, &damaged) {
		return err
	}
	return fmt.Errorf("%w: move it out of the directory, keep it, and start the node again: what other nodes have copies of is made anew from those, "+
		"and muster recover --all shows the shards for which too few are left", err)
}

// connect makes the coordinator and the region, which know each other: the coordinator shows the region every newer map, the
// region tells the coordinator of its copies. The coordinator is made first, as it calls back only after it was started;
// the region needs somebody to report to from its first moment. Both register their services before the port serves.
func (n *Node) connect(directory *coordinator.Directory, logs *region.Logs) (err error) {
	cfg := n.cfg.coordinates()
	cfg.Addr, cfg.Directory, cfg.Port, cfg.Logger = n.port.Addr(), directory, n.port, n.cfg.Logger.Named("coordinator")
	cfg.OnView = func(v *shard.View) {
		n.region.Update(v) // before anyone who waits for the map acts on it
		n.maps.show(v)
	}
	cfg.Seal = func(ctx context.Context, items []shard.SealItem) []shard.Sealed { return n.region.Seal(ctx, items) }
	cfg.Hosted = n.hosted
	cfg.Counts = n.counts
	if n.coordinator, err = coordinator.New(cfg); err != nil {
		return err
	}
	n.parts.add(part{name: "coordinator", close: n.coordinator.Close, kill: n.coordinator.Kill})

	limits := n.cfg.Tuning.Region
	limits.Autonomy = cfg.Times.Autonomy
	n.region, err = region.New(region.Config{
		Node: n.cfg.ID, Journal: n.journal, Logs: logs, Port: n.port, Types: slices.Clone(n.cfg.Hosts), Directory: n.coordinator,
		Logger: n.cfg.Logger.Named("region"), Limits: limits,
	})
	if err != nil {
		return err
	}
	n.parts.add(part{name: "region", close: n.region.Close})
	n.region.Register(n.port.Server())
	return nil
}

// run brings the node to life. The port serves before the coordinator starts, because forming a group takes answering the
// other founders, and Raft needs its streams.
func (n *Node) run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- n.port.Serve() }()
	n.stop.watched = make(chan struct{})
	go n.watch(served)
	if err := n.coordinator.Start(ctx); err != nil {
		return errors.Join(err, n.Err())
	}
	said := ""
	gate := func(v *shard.View) error {
		lack := n.gate(v)
		if lack != nil && lack.Error() != said {
			said = lack.Error()
			n.cfg.Logger.Info("this node is not ready yet: it waits for members", "reason", said)
		}
		return lack
	}
	if err := n.await(ctx, gate); err != nil {
		return err
	}
	return n.Err()
}

// gate holds a start until as many members are up as this node's configuration and the group ask for.
func (n *Node) gate(v *shard.View) error {
	if up, required := upIn(v), max(n.cfg.RequiredQuorum, v.Required); up < required {
		return fmt.Errorf("required quorum: %d of %d members are up", up, required)
	}
	return nil
}

func (n *Node) hosted() []*wire.Hosted {
	var all []*wire.Hosted
	for _, h := range n.region.Hosted() {
		all = append(all, &wire.Hosted{
			Type: string(h.Shard.Type), Shard: uint32(h.Shard.Number), Copy: uint64(h.Copy), Role: h.Role, Epoch: uint64(h.Epoch),
			Last: uint64(h.Last), Durable: uint64(h.Durable), Confirmed: uint64(h.Confirmed), Waiting: h.Waiting,
		})
	}
	return all
}

func (n *Node) counts() []coordinator.Sample {
	var all []coordinator.Sample
	for _, c := range n.region.Counts() {
		all = append(all, coordinator.Sample{Shard: c.Shard, Messages: c.Messages, Bytes: c.Bytes, Records: c.Records})
	}
	return all
}
