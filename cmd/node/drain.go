package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/coordinator/plan"
	"muster/shard"
)

var drainVerb = verb{
	use:   "drain NODE",
	short: "move everything off a node",
	long: "Has every primary and copy on the node moved elsewhere, and waits until it is empty; then it can be stopped and removed\n" +
		"without anyone noticing. The drain is in the group's state: after --deadline, code 6, and after Ctrl-C, code 130, it goes\n" +
		"on; what is left then is printed all the same, the same command waits again, and --off ends it.\n" +
		"It is refused with code 4 when shards could not be written without the node and no other member can take their place;\n" +
		"they are named. What would stay for another reason, above all because every other member has a copy already, is said at\n" +
		"once with the rule, and waited for: another member may join. --off ends a drain, --dry-run only judges, and lists where all\n" +
		"would go as things are now.",
	example: "muster drain n3 --dry-run",
	output: `NODE  STAGE   PRIMARIES  COPIES
n3    judged  21         64
64 shards stay as things are [no-room], every other member has a copy, is down, or takes nothing: counter/0, counter/1, counter/2, counter/3, counter/4, counter/5, counter/6, counter/7 and 56 more
SHARD       MOVE  FROM  TO  REASON
counter/2   lead  n3    n1  node-drains`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		d := &drain{remote: remoteFlags(flags, 0)}
		flags.Lookup("timeout").Hidden = true
		d.deadline = flags.Duration("deadline", 30*time.Minute, "wait at most so long; the drain goes on")
		d.wait = flags.Bool("wait", true, "wait until the node is empty")
		d.off = flags.Bool("off", false, "end the drain: the node takes shards again")
		d.dry = flags.Bool("dry-run", false, "only say what would move where, and whether it would be refused")
		return func(ctx context.Context, args []string) error {
			if *d.off && *d.dry {
				return misusef("either --off or --dry-run")
			}
			if *d.timeout = *d.deadline; *d.deadline <= 0 {
				return misusef("deadline = %s, must be above 0", *d.deadline)
			}
			return d.with(ctx, func(ctx context.Context, c *client.Client) error {
				left, err := d.run(ctx, t, c, shard.NodeID(args[0]))
				if left.Node == "" {
					return err
				}
				return errors.Join(t.show(left, left.table), err)
			})
		}
	},
}

type drain struct {
	*remote
	deadline       *time.Duration
	wait, off, dry *bool
}

// leftover is what a node has, learners included.
type leftover struct {
	Node      shard.NodeID `json:"node"`
	Stage     string       `json:"stage"` // judged, draining, done or off
	Primaries int          `json:"primaries"`
	Copies    int          `json:"copies"`
	Moves     []moveReport `json:"moves"`  // what takes it off, as things are now
	Stuck     []stuck      `json:"stuck"`  // what stays as things are
	Follow    string       `json:"follow"` // the command that waits for it, "" when nothing is under way
	Cancel    string       `json:"cancel"` // the command that ends it
}

func (l leftover) table(w *columns) {
	w.row("NODE", "STAGE", "PRIMARIES", "COPIES")
	w.row(l.Node, l.Stage, l.Primaries, l.Copies)
	if l.Stage != "off" {
		for _, line := range l.obstacles() {
			fmt.Fprintln(w, line)
		}
	}
	if l.Stage == "judged" && len(l.Moves) > 0 {
		movesTable(w, l.Moves)
	}
	if l.Follow != "" {
		fmt.Fprintln(w, l.goesOn())
	}
}

func (l leftover) goesOn() string {
	return fmt.Sprintf("the drain goes on in the group: %s waits for it, %s ends it", l.Follow, l.Cancel)
}

// stuck is a shard with something on the node that cannot move, and the rule.
type stuck struct {
	Type   shard.TypeName `json:"type"`
	Shard  shard.Number   `json:"shard"`
	Reason plan.Reason    `json:"reason"`
}

// rules says in words why something stays.
var rules = map[plan.Reason]string{
	plan.NoRoom:       "every other member has a copy, is down, or takes nothing",
	plan.AwaitHeir:    "nobody else could lead them now",
	plan.AwaitPrimary: "they must recover first",
}

// obstacles is a line for each rule that keeps something on the node.
func (l leftover) obstacles() []string {
	by := map[plan.Reason][]string{}
	for _, s := range l.Stuck {
		by[s.Reason] = append(by[s.Reason], shard.ID{Type: s.Type, Number: s.Shard}.String())
	}
	var lines []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		lines = append(lines, fmt.Sprintf("%d shards stay as things are [%s], %s: %s", len(by[reason]), reason, rules[reason], first(by[reason])))
	}
	return lines
}

func (d *drain) run(ctx context.Context, t *terminal, c *client.Client, node shard.NodeID) (leftover, error) {
	var err error
	if *d.dry {
		_, err = c.JudgeDrain(ctx, node)
	} else {
		_, err = c.Drain(ctx, node, !*d.off)
	}
	switch {
	case err == nil:
	case *d.dry || ctx.Err() == nil:
		return leftover{}, err
	case errors.Is(ctx.Err(), context.Canceled):
		return leftover{}, unsure("it is not known whether the order was taken: the same command gives it again")
	default:
		return leftover{}, shard.Unknownf(shard.CodeTimeout, "it is not known whether the order was taken: the same command gives it again")
	}
	left, err := leftOn(ctx, c, node)
	switch {
	case err != nil && ctx.Err() != nil && !*d.dry && !*d.off:
		return leftover{}, halted(ctx, "how much is left on node %s is not known; %s", node, leftover{Follow: waitFor(node), Cancel: callOff(node)}.goesOn())
	case err != nil:
		return leftover{}, err
	case *d.dry:
		left.Stage, left.Follow, left.Cancel = "judged", "", ""
	case *d.wait && !*d.off:
		return d.watch(ctx, t, c, left)
	}
	return left, nil
}

// watch waits until nothing is left. That the group cannot answer for a moment does not end it.
func (d *drain) watch(ctx context.Context, t *terminal, c *client.Client, left leftover) (leftover, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	counts, obstacles := "", ""
	for {
		if now := fmt.Sprintf("node %s: %d primaries, %d copies left", left.Node, left.Primaries, left.Copies); now != counts {
			counts = now
			t.note("%s", now)
		}
		if now := strings.Join(left.obstacles(), "\n"); now != obstacles {
			if obstacles = now; now != "" {
				t.note("%s", now)
			}
		}
		switch left.Stage {
		case "done":
			return left, nil
		case "off":
			return left, &shard.Error{Code: shard.CodeConflict, Node: left.Node, Detail: "node " + string(left.Node) + " is not draining any more"}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left, late(ctx, left)
		}
		now, err := leftOn(ctx, c, left.Node)
		switch {
		case err == nil:
			left = now
		case ctx.Err() != nil:
			return left, late(ctx, left)
		case exitCode(err) != exitAway:
			return leftover{}, err
		}
	}
}

func late(ctx context.Context, left leftover) error {
	return halted(ctx, "node %s has %d primaries and %d copies left; %s", left.Node, left.Primaries, left.Copies, left.goesOn())
}

func waitFor(node shard.NodeID) string { return fmt.Sprintf("muster drain %s", node) }

func callOff(node shard.NodeID) string { return waitFor(node) + " --off" }

// leftOn counts what the leader's map has on the node.
func leftOn(ctx context.Context, c *client.Client, node shard.NodeID) (leftover, error) {
	s, err := c.State(ctx)
	if err != nil {
		return leftover{}, err
	}
	primaries, copies := load(s.View)
	left := leftover{Node: node, Stage: "draining", Primaries: primaries[node], Copies: copies[node], Stuck: []stuck{}}
	moves, stays := plan.Drain(s.View, node)
	left.Moves = reportMoves(moves)
	for _, n := range stays {
		left.Stuck = append(left.Stuck, stuck{n.Shard.Type, n.Shard.Number, n.Reason})
	}
	for _, t := range s.View.Types {
		for _, p := range t.Placements {
			if p == nil {
				continue
			}
			for _, l := range p.Learners {
				if l.Copy.Node == node {
					left.Copies++
				}
			}
		}
	}
	switch {
	case !s.View.Members[node].Draining:
		left.Stage = "off"
	case left.Primaries+left.Copies == 0:
		left.Stage = "done"
	default:
		left.Follow, left.Cancel = waitFor(node), callOff(node)
	}
	return left, nil
}
