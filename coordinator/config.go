package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// Times are the intervals a group runs on. Nodes may differ in them, and have others after a restart: each session is waited for as
// long as it has said itself, see fsm.Lengths. A zero field means its default.
type Times struct {
	Lease         time.Duration // how long this node's session lives without a renewal; 2 s
	Autonomy      time.Duration // how long after its lease a primary of a journaled shard goes on confirming here; shard.Autonomy
	Renew         time.Duration // how often it is renewed; a fifth of Lease
	Heartbeat     time.Duration // silence after which a Raft follower asks for an election; 500 ms
	Election      time.Duration // how long an election may take; Heartbeat
	LeaderLease   time.Duration // how long a Raft leader leads without hearing from a majority; 4/5 of Heartbeat
	CommitTimeout time.Duration // at most twice this late followers learn of a commit after which nothing follows; 25 ms
	Propose       time.Duration // deadline of a proposal that brings none; 5 s
	Plan          time.Duration // how often the leader plans when nothing happens; 50 ms
	Rebuild       time.Duration // a node that has been down for so long is given up: its copies are made elsewhere; 1 min
	Cooldown      time.Duration // a shard that was moved is not moved for balance again so soon; 30 s
	ReplaceVoter  time.Duration // a voter whose session has been over for so long gives way to a member; 5 min
	CatchUp       time.Duration // how long that member may take to catch up; 30 s
}

func (t Times) withDefaults() Times {
	t.Lease = cmp.Or(t.Lease, 2*time.Second)
	t.Autonomy = cmp.Or(t.Autonomy, shard.Autonomy)
	t.Renew = cmp.Or(t.Renew, t.Lease/5)
	t.Heartbeat = cmp.Or(t.Heartbeat, 500*time.Millisecond)
	t.Election = cmp.Or(t.Election, t.Heartbeat)
	t.LeaderLease = cmp.Or(t.LeaderLease, t.Heartbeat*4/5)
	t.CommitTimeout = cmp.Or(t.CommitTimeout, 25*time.Millisecond)
	t.Propose = cmp.Or(t.Propose, 5*time.Second)
	t.Plan = cmp.Or(t.Plan, 50*time.Millisecond)
	t.Rebuild = cmp.Or(t.Rebuild, plan.DefaultTimes().Rebuild)
	t.Cooldown = cmp.Or(t.Cooldown, plan.DefaultTimes().Cooldown)
	t.ReplaceVoter = cmp.Or(t.ReplaceVoter, 5*time.Minute)
	t.CatchUp = cmp.Or(t.CatchUp, 30*time.Second)
	return t
}

// margin is what a lease is shortened by on the node's own clock: clocks drift apart, and code runs between the reading
// of a clock and what it permits.
func margin(lease time.Duration) time.Duration {
	return lease/100 + min(100*time.Millisecond, lease/10)
}

// lengths are what this node's session acts on, as exactly as they are sent.
func (t Times) lengths() fsm.Lengths {
	return fsm.Lengths{Lease: t.Lease.Truncate(time.Microsecond), Autonomy: t.Autonomy.Truncate(time.Microsecond)}
}

// grace is how long a session that is alive may go without a renewal.
func (t Times) grace() time.Duration { return 2 * t.Renew }

func (t Times) validate() error {
	if fault := t.lengths().Validate(); fault != nil {
		return errors.New(fault.Detail)
	}
	switch {
	case t.Lease <= 0 || t.Autonomy <= 0 || t.Renew <= 0 || t.Heartbeat <= 0 || t.Plan <= 0 || t.Propose <= 0 || t.CommitTimeout <= 0 || t.Rebuild <= 0 || t.Cooldown <= 0 || t.ReplaceVoter <= 0 || t.CatchUp <= 0:
		return errors.New("times must be above 0")
	case t.Renew > t.Lease/2:
		return fmt.Errorf("renew = %s: it must be at most half of lease = %s, or one lost renewal ends the session", t.Renew, t.Lease)
	case t.Election < t.Heartbeat || t.LeaderLease >= t.Heartbeat:
		return fmt.Errorf("raft: leader lease %s must be below heartbeat %s, and that at most election %s", t.LeaderLease, t.Heartbeat, t.Election)
	}
	return nil
}

// Sample is what a node counted of a shard it leads.
type Sample = plan.Sample

// Config is what a coordinator is made from. Directory and Port stay the caller's to close, after Close of the coordinator.
//
//lint:fields settings, and what it calls back
type Config struct {
	Node      shard.NodeID
	Addr      string // where others reach Port; it must be the same string in everyone's Seeds
	Directory *Directory
	Port      *transport.Port
	Seeds     []string // addresses of the founding nodes; empty: this node is a group of its own
	Voters    int      // size of the Raft group to form: 1, 3, 5 or 7; 0: one for each seed. Only founders read it
	Zone      string
	Roles     []string
	Hosts     []shard.Spec // entity types this node can host
	Version   string       // of the program, told to whoever asks
	Logger    hclog.Logger // nil: silent
	Times     Times

	OnView func(*shard.View)                                      // every newer map, in order, from one goroutine; must not block. May be nil
	Seal   func(context.Context, []shard.SealItem) []shard.Sealed // this node's own copies; may be nil when it has none
	Hosted func() []*wire.Hosted                                  // for Inspect; may be nil
	Counts func() []Sample                                        // of the shards this node leads; may be nil
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Times = c.Times.withDefaults()
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.OnView == nil {
		c.OnView = func(*shard.View) {}
	}
	if c.Seal == nil {
		c.Seal = func(context.Context, []shard.SealItem) []shard.Sealed { return nil }
	}
	if c.Counts == nil {
		c.Counts = func() []plan.Sample { return nil }
	}
	if c.Hosted == nil {
		c.Hosted = func() []*wire.Hosted { return nil }
	}
	if c.Voters == 0 {
		c.Voters = max(1, len(c.Seeds))
	}
	return c
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	asked := c.Voters != 0
	c = c.withDefaults()
	faults := []error{c.Node.Validate(), c.Times.validate()}
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Directory == nil || c.Port == nil {
		add("a coordinator needs a data directory and a port")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		add("address %q is not HOST:PORT: %w", c.Addr, err)
	}
	for i, s := range c.Seeds {
		if slices.Contains(c.Seeds[:i], s) {
			add("seed %s is named twice", s)
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			add("seed %q is not HOST:PORT: %w", s, err)
		}
	}
	if asked || c.founding() {
		faults = append(faults, c.validateVoters())
	}
	names := map[shard.TypeName]bool{}
	for _, spec := range c.Hosts {
		faults = append(faults, spec.Validate())
		if names[spec.Name] {
			add("entity type %s is hosted twice", spec.Name)
		}
		names[spec.Name] = true
	}
	for _, role := range c.Roles {
		if err := shard.ValidName(role); err != nil {
			add("role: %s", shard.As(err).Detail)
		}
	}
	if err := shard.ValidName(c.Zone); c.Zone != "" && err != nil {
		add("zone: %s", shard.As(err).Detail)
	}
	if err := errors.Join(faults...); err != nil {
		return shard.Invalid("%v", err)
	}
	return nil
}

func (c Config) validateVoters() error {
	switch n := max(1, len(distinct(c.Seeds))); {
	case c.Voters < 1 || c.Voters > fsm.MaxVoters:
		return fmt.Errorf("voters = %d: it must be 1, 3, 5 or 7", c.Voters)
	case c.Voters%2 == 0:
		return fmt.Errorf("voters = %d: an even number of voters survives no more failures than %d do; "+
			"set voters to %d, and let the other nodes join as members", c.Voters, c.Voters-1, c.Voters-1)
	case c.Voters > n && c.founding():
		return fmt.Errorf("voters = %d but %d seeds: name the address of every founding node as a seed", c.Voters, n)
	}
	return nil
}

// founding reports whether this node may be one of the group's first voters: it is alone, or it is a seed itself.
func (c Config) founding() bool { return len(c.Seeds) == 0 || slices.Contains(c.Seeds, c.Addr) }

func distinct(list []string) []string {
	sorted := slices.Sorted(slices.Values(list))
	return slices.Compact(sorted)
}
