package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/coordinator"
	"muster/entity"
	"muster/fsm"
	"muster/region"
	"muster/shard"
	"muster/transport"
)

// Config is what a node is started with. Every zero value is a default; ID and Dir have none. See LoadConfig for the same
// from a file.
type Config struct {
	ID    shard.NodeID // the node's name in the group; it stays with its directory for good
	Addr  string       // HOST:PORT that other nodes and clients dial; port 0 lets the system choose; 127.0.0.1:0
	Bind  string       // HOST:PORT to listen on when it is not Addr
	Dir   string       // the data directory; made when missing, private to one process
	Seeds []string     // Addr of every founding node, the same list on all of them; empty: this node is a group of its own
	Zone  string       // copies of a shard are spread over zones
	Roles []string     // entity types may ask for a role

	// Voters is the size of the Raft group: 1, 3, 5 or 7. 0 means one for each seed. Nodes beyond it are members
	// without a vote. Only the founding nodes read it.
	Voters int

	// RequiredQuorum, when above 0, holds Start until so many members are up. It is this node's wish; the group's own
	// number, which holds every later start, is set by SetRequiredQuorum. The higher one counts.
	RequiredQuorum int

	Hosts []entity.Definition // the entity types this node can own; entity.Types makes the list

	// TLS is mutual and for both directions, and every certificate names one spiffe://GROUP/ROLE/NAME, this node's GROUP/server/ID:
	// docs/tls.md. nil means plaintext, which is refused beyond loopback unless AllowPlaintext is set.
	TLS            *tls.Config
	AllowPlaintext bool

	Logger   hclog.Logger // nil: silent
	Listener net.Listener // instead of listening on Bind
	Tuning   Tuning
}

// Tuning is what most programs leave alone. A zero field means its default.
type Tuning struct {
	Times     coordinator.Times // each node's own; nodes may differ, see there
	Region    region.Limits
	Transport transport.Limits
	Dialer    func(ctx context.Context, addr string) (net.Conn, error) // how other nodes are reached; nil means TCP
	SyncDelay time.Duration                                            // added to every commit of the journal, to see how a slow disk is borne
}

func (c Config) withDefaults() Config {
	c.Addr = cmp.Or(c.Addr, "127.0.0.1:0")
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Validate reports every fault at once, each a *shard.Error with CodeInvalid or CodeMismatch, joined. What only the running
// system can tell, such as a directory in use, is left to Start.
func (c Config) Validate() error {
	c = c.withDefaults()
	faults := entity.Validate(c.Hosts)
	if c.Dir == "" {
		faults = append(faults, shard.Invalid("dir is empty: name a data directory"))
	}
	if _, _, err := net.SplitHostPort(c.Bind); err != nil && c.Bind != "" {
		faults = append(faults, shard.Invalid("bind %q is not HOST:PORT", c.Bind))
	} else if err := c.port().Validate(); err != nil && c.ID.Validate() == nil { // a bad id is told once, by the coordinator's part
		faults = append(faults, err)
	}
	if c.RequiredQuorum < 0 || c.RequiredQuorum > fsm.MaxMembers {
		faults = append(faults, shard.Invalid("required_quorum = %d, must be 0 to %d", c.RequiredQuorum, fsm.MaxMembers))
	}
	if len(faults) == 0 {
		return c.coordinates().Validate()
	}
	c.Hosts = nil // their faults are in the list already
	return errors.Join(append(faults, c.coordinates().Validate())...)
}

// port is the transport's part.
func (c Config) port() transport.Config {
	return transport.Config{
		Node: c.ID, Bind: c.Bind, Advertise: c.Addr, Listener: c.Listener, Dialer: c.Tuning.Dialer,
		TLS: c.TLS, AllowPlaintext: c.AllowPlaintext, Logger: c.Logger.Named("transport"), Limits: c.Tuning.Transport,
	}
}

// coordinates is the coordinator's part, complete enough to be validated. It tells the group the autonomy that the region acts on.
func (c Config) coordinates() coordinator.Config {
	times := c.Tuning.Times
	times.Autonomy = cmp.Or(c.Tuning.Region.Autonomy, times.Autonomy)
	cc := coordinator.Config{
		Node: c.ID, Addr: c.Addr, Seeds: c.Seeds, Voters: c.Voters, Zone: c.Zone, Roles: c.Roles,
		Directory: &coordinator.Directory{}, Port: &transport.Port{}, Logger: c.Logger, Times: times,
	}
	for _, d := range c.Hosts {
		cc.Hosts = append(cc.Hosts, d.Spec())
	}
	return cc
}
