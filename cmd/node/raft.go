package main

import (
	"context"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/coordinator/plan"
	"muster/shard"
)

var raftVerb = verb{
	use:   "raft",
	short: "the voters behind the group's state",
	long:  "The group's state is kept by its voters, one of which leads. Shards have primaries of their own: see move.",
	verbs: []verb{raftPeersVerb, raftTransferVerb},
}

var raftPeersVerb = verb{
	use:   "peers",
	short: "who votes and who leads",
	long: "Lists the seats of the Raft group as its leader has them, and says why a voter that is down is replaced or is not, and\n" +
		"when. The seat of a node that was removed is shown as gone until it is taken away.",
	example: "muster raft peers",
	output: `NODE  ADDR             VOTES  LEADS  STATUS  DIRECTORY
n1    127.0.0.1:40001  yes    yes    up      7d3c0f5e-9d0f-4c38-b7d5-0a6f0c2a7e11
n2    127.0.0.1:40002  yes    no     up      1f0be1c4-5b0a-43a0-a3b6-53b1b5a3e9d2
n3    127.0.0.1:40003  yes    no     up      c4a3fd50-8a3a-4f5c-8a51-6c2f8d6a1b03
n1 is up, and votes
n2 is up, and votes
n3 is up, and votes`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, _ []string) error {
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				peers, lines, err := c.Peers(ctx)
				if err != nil {
					return err
				}
				s, err := c.State(ctx)
				if err != nil {
					return err
				}
				seats := seatsReport{Seats: reportPeers(s.View, peers), Why: []fact{}}
				for _, l := range lines {
					seats.Why = append(seats.Why, fact{plan.Reason(l.Reason), l.Text})
				}
				return t.show(seats, func(w *columns) {
					w.row("NODE", "ADDR", "VOTES", "LEADS", "STATUS", "DIRECTORY")
					for _, p := range seats.Seats {
						w.row(p.Node, p.Addr, yes(p.Votes), yes(p.Leads), p.Status, p.Directory)
					}
					factLines(w, seats.Why)
				})
			})
		}
	},
}

type seatsReport struct {
	Seats []peerReport `json:"seats"`
	Why   []fact       `json:"why"`
}

type peerReport struct {
	Node      shard.NodeID      `json:"node"`
	Addr      string            `json:"addr"`
	Directory shard.DirectoryID `json:"directory"`
	Votes     bool              `json:"votes"`
	Leads     bool              `json:"leads"`
	Status    string            `json:"status"` // up, down, or gone: no member has this directory
}

func reportPeers(v *shard.View, peers []client.Peer) []peerReport {
	all := []peerReport{}
	for _, p := range peers {
		status := "down"
		switch {
		case v.Members[p.Node].Directory != p.Directory:
			status = "gone"
		case v.Up(p.Node):
			status = "up"
		}
		all = append(all, peerReport{p.Node, p.Addr, p.Directory, p.Votes, p.Leads, status})
	}
	return all
}

var raftTransferVerb = verb{
	use:   "transfer [NODE]",
	short: "have another voter lead",
	long: "Hands the lead of the group to the node, or to whichever voter is fit. Requests in flight are repeated at the new leader;\n" +
		"shards do not notice. It is refused with code 4 when the node has no vote or is down.",
	example: "muster raft transfer n2",
	output: `STAGE  BEFORE  AFTER
done   n1      n2`,
	most: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		return order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			return c.TransferLead(ctx, shard.NodeID(append(args, "")[0]))
		})
	},
}
