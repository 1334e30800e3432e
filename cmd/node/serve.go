package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"muster/node"
	"muster/shard"
)

var serveVerb = verb{
	use:   "serve --id ID --addr HOST:PORT --dir DIR [--seed HOST:PORT]...",
	short: "run one node",
	long: "Runs one node until interrupted, and then takes it out of the group in good order. The founding nodes are each given the\n" +
		"same seeds, the addresses of all of them; they form a group when all are up. A node whose address is not among the\n" +
		"seeds joins the group behind them. A node without seeds is a group of its own.\n\n" +
		"The node hosts one entity type, counter, whose commands are add {\"n\":5} and get. Programs that embed the node package host\n" +
		"their own.\n\n" +
		"With --cert, --key and --ca the node speaks mutual TLS only. Its certificate names the host of --addr and one URI,\n" +
		"spiffe://GROUP/server/ID; those of the verbs name spiffe://GROUP/admin/NAME, or client in the place of admin for what only asks.\n" +
		"GROUP is any word, the same for all. docs/tls.md has the commands that make them.\n\n" +
		"A value comes from the flag, else from the environment, else from the TOML file of --config, else it is the default. The file's\n" +
		"keys are id, addr, bind, dir, seeds, voters, zone, roles, required_quorum, allow_plaintext, the table tls (cert, key, ca) and\n" +
		"the table times (lease, renew, heartbeat, autonomy, rebuild, replace_voter, catch_up); any other key is an error.\n" +
		"Nodes may have different leases and autonomies, and others after a restart: each is waited for as long as it says.",
	example: "muster serve --id n1 --addr 127.0.0.1:7420 --dir /var/lib/muster",
	output:  "node n1 serves at 127.0.0.1:7420 in group 6f3c2c0e-8a65-4b5f-9a39-1f0c8a2a2d11",
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		s := newSettings(flags)
		return func(ctx context.Context, _ []string) error {
			if strings.Contains(s.flag.Addr, ",") {
				return misusef("addr = %s: a node has one address; a list, as MUSTER_ADDR may hold one, is for verbs that ask: give --addr", s.flag.Addr)
			}
			cfg, err := s.config(t)
			if err != nil {
				return misuse{err}
			}
			return serve(ctx, t, cfg)
		}
	},
}

// settings are the flags of serve. Which of them count is decided when a line is parsed.
type settings struct {
	flags *pflag.FlagSet
	flag  node.Config
	id    string
	file  string
	level string
	tls   *tlsFiles
}

func newSettings(flags *pflag.FlagSet) *settings {
	s := &settings{flags: flags}
	flags.StringVar(&s.id, "id", "", "the node's name in the group, for good")
	flags.StringVar(&s.flag.Addr, "addr", defaultAddr, "HOST:PORT that other nodes and clients dial")
	flags.StringVar(&s.flag.Bind, "bind", "", "HOST:PORT to listen on, when it is not --addr")
	flags.StringVar(&s.flag.Dir, "dir", "", "data directory, of this node alone")
	flags.StringSliceVar(&s.flag.Seeds, "seed", nil, "HOST:PORT of every founding node; repeat it or give a list")
	flags.IntVar(&s.flag.Voters, "voters", 0, "size of the Raft group: 1, 3, 5 or 7; 0 means one for each seed")
	flags.StringVar(&s.flag.Zone, "zone", "", "copies of a shard are spread over zones")
	flags.StringSliceVar(&s.flag.Roles, "role", nil, "roles of this node; repeat it or give a list")
	flags.IntVar(&s.flag.RequiredQuorum, "required-quorum", 0, "be ready only when so many members are up")
	flags.BoolVar(&s.flag.AllowPlaintext, "allow-plaintext", false, "serve without TLS beyond loopback addresses")
	flags.StringVar(&s.file, "config", "", "TOML file with the same settings")
	flags.StringVar(&s.level, "log-level", "info", "trace, debug, info, warn, error or off; logs go to stderr")
	s.tls = tlsFlags(flags)
	return s
}

// config merges the flags, which the environment has completed, over the file.
func (s *settings) config(t *terminal) (node.Config, error) {
	s.flag.ID = shard.NodeID(s.id)
	cfg := s.flag
	if s.file != "" {
		var err error
		if cfg, err = node.LoadConfig(s.file); err != nil {
			return cfg, err
		}
		s.override(&cfg)
	}
	secure, err := s.tls.load()
	if err != nil {
		return cfg, err
	}
	if secure != nil {
		cfg.TLS = secure
	}
	if cfg.Logger, err = newLogger(t, s.level, string(cfg.ID)); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// override puts every flag that was set over what the file says; a default only fills what the file leaves out.
func (s *settings) override(cfg *node.Config) {
	put := map[string]func(){
		"id":              func() { cfg.ID = s.flag.ID },
		"addr":            func() { cfg.Addr = s.flag.Addr },
		"bind":            func() { cfg.Bind = s.flag.Bind },
		"dir":             func() { cfg.Dir = s.flag.Dir },
		"seed":            func() { cfg.Seeds = s.flag.Seeds },
		"voters":          func() { cfg.Voters = s.flag.Voters },
		"zone":            func() { cfg.Zone = s.flag.Zone },
		"role":            func() { cfg.Roles = s.flag.Roles },
		"required-quorum": func() { cfg.RequiredQuorum = s.flag.RequiredQuorum },
		"allow-plaintext": func() { cfg.AllowPlaintext = s.flag.AllowPlaintext },
	}
	s.flags.Visit(func(f *pflag.Flag) {
		if set := put[f.Name]; set != nil {
			set()
		}
	})
	if cfg.Addr == "" {
		cfg.Addr = s.flag.Addr
	}
}

func newLogger(t *terminal, level, name string) (hclog.Logger, error) {
	l := hclog.LevelFromString(level)
	if l == hclog.NoLevel {
		return nil, shard.Invalid("log-level %q is none of trace, debug, info, warn, error, off", level)
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: l, Output: t.err}), nil
}

// farewell bounds a shutdown in good order; then the rest goes the hard way.
const farewell = 10 * time.Second

func serve(ctx context.Context, t *terminal, cfg node.Config) error {
	node.HeapFloor(node.DefaultHeapFloor)
	err := hostCounter(ctx, &cfg)
	var n *node.Node
	if err == nil {
		n, err = node.Start(ctx, cfg)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // interrupted before it was ready
	case err != nil:
		return err
	}
	ready := serving{n.ID(), n.Addr(), n.View().Group}
	if err := t.show(ready, func(w *columns) {
		w.row(fmt.Sprintf("node %s serves at %s in group %s", ready.Node, ready.Addr, ready.Group))
	}); err != nil {
		cfg.Logger.Warn("nobody reads that the node is ready", "error", err)
	}
	return untilOver(ctx, n)
}

type serving struct {
	Node  shard.NodeID  `json:"node"`
	Addr  string        `json:"addr"`
	Group shard.GroupID `json:"group"`
}

// untilOver returns when the node was interrupted and shut down, or a fault stopped it for good.
func untilOver(ctx context.Context, n *node.Node) error {
	select {
	case <-n.Failed():
		n.Kill() // returns when nothing of it runs any more
		return fmt.Errorf("node %s was stopped by a fault: %w", n.ID(), n.Err())
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	return n.Shutdown(bounded)
}
