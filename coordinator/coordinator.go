package coordinator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/shard"
	"muster/transport/wire"
)

// A Coordinator is a node's part in the control plane. Methods are safe for concurrent use.
//
// Its life: New, which registers the Group service; the port serves; Start; Close or Kill. When it can no longer take
// part, because its disk hangs or a newer program wrote to the log, Failed is closed, Err says why, and the caller
// stops the node; the embedding program goes on.
type Coordinator struct {
	cfg       Config
	log       hclog.Logger
	clock     clock
	life      *life
	opening   opening
	voter     atomic.Pointer[voter] // nil on a member without a vote
	session   *session
	follower  *follower
	reports   *reports
	arrivals  arrivals
	leaders   bell // rings when another leader may be known
	contacts  contacts
	formation formation
	fault     fault
	closing   closing
}

// formation is told by the first Form that this node accepts.
type formation struct {
	judging  sync.Mutex    // one Form at a time, or the choice to join
	joined   shard.GroupID // under judging: the group this node joins, formed without it; then it accepts no Form
	once     sync.Once
	accepted chan struct{}
}

// fault is why the coordinator cannot go on.
type fault struct {
	once   sync.Once
	failed chan struct{}
	err    error // set before failed closes
}

// New checks the configuration, claims the directory for the node and registers the Group service on the port.
func New(cfg Config) (*Coordinator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.Directory.claim(cfg.Node); err != nil {
		return nil, err
	}
	if group := cfg.Directory.Group(); group != "" {
		cfg.Port.SetGroup(group) // before the port serves: a group that restarts would be refused as strangers
	}
	c := &Coordinator{cfg: cfg, log: cfg.Logger, clock: newClock(), life: newLife(context.Background())}
	c.formation.accepted = make(chan struct{})
	c.fault.failed = make(chan struct{})
	c.follower = newFollower(c)
	c.session = newSession(c)
	c.reports = newReports(c)
	wire.RegisterGroupServer(cfg.Port.Server(), &service{c: c})
	return c, nil
}

// Start forms, resumes or joins the group, and returns when this node is registered and its map is that of its
// registration or newer. The port must be serving. It fails with a *shard.Error that says what the operator can do:
// CodeInUse when the node id belongs to a live node elsewhere, CodeWrongGroup, CodeMismatch, CodeInvalid, or CodeTimeout
// when ctx ended first. After a failure, Close or Kill releases what was started.
func (c *Coordinator) Start(ctx context.Context) error {
	ctx, cancel := c.life.within(ctx)
	defer cancel()
	if err := c.enter(ctx); err != nil {
		return err
	}
	if !c.life.Go(c.follower.run) || !c.life.Go(c.reports.run) {
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	}
	if err := c.session.open(ctx); err != nil {
		return err
	}
	c.session.life.Go(c.session.run)
	c.session.life.Go(c.declareSeat)
	return nil
}

// View is the newest map this node has; never nil. Immutable.
func (c *Coordinator) View() *shard.View { return c.follower.view() }

// Age is how long ago the map was last known to be current.
func (c *Coordinator) Age() time.Duration { return c.follower.age() }

// Session is the session of this process, 0 before it is registered. It changes when the group has ended one and the node
// opened another; OnView is called again then.
func (c *Coordinator) Session() shard.SessionID { return c.session.id() }

// DirectoryID names this node's data directory.
func (c *Coordinator) DirectoryID() shard.DirectoryID { return c.cfg.Directory.ID() }

// LeaseUntil is when this node's lease ends, on boottime, with its margin taken off; 0 when it has none.
func (c *Coordinator) LeaseUntil() time.Duration { return c.session.leaseUntil() }

// Report brings what this node found about one of its copies to the leader. It never blocks. A report may be lost: the caller
// repeats it until the map shows the effect.
func (c *Coordinator) Report(r shard.Report) { c.reports.add(r) }

// Leader is who leads the group as far as this node knows; node is empty when it knows none.
func (c *Coordinator) Leader() (node shard.NodeID, addr string, term uint64) {
	if v := c.voter.Load(); v != nil && v.raft.Load() != nil {
		return v.leader()
	}
	return c.follower.leader()
}

// Voter reports whether this node runs Raft.
func (c *Coordinator) Voter() bool {
	v := c.voter.Load()
	return v != nil && v.raft.Load() != nil
}

// Failed is closed when this node can no longer take part; Err says why.
func (c *Coordinator) Failed() <-chan struct{} { return c.fault.failed }

// Err is why this node can no longer take part, nil while it can.
func (c *Coordinator) Err() error {
	select {
	case <-c.fault.failed:
		return c.fault.err
	default:
		return nil
	}
}

func (c *Coordinator) fail(err error) {
	c.fault.once.Do(func() {
		c.fault.err = errors.Join(errors.New("the coordinator stopped this node"), err)
		c.log.Error("this node can no longer take part in the group", "error", err)
		close(c.fault.failed)
	})
}

// maps are the maps this node knows, the followed one first.
func (c *Coordinator) maps() []*shard.View {
	maps := []*shard.View{c.View()}
	if v := c.voter.Load(); v != nil {
		maps = append(maps, v.machine.state().View)
	}
	return maps
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
