package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"muster/client"
	"muster/fsm"
	"muster/shard"
)

// The documents of the read verbs. Their keys are stable: programs rest on them.

type statusReport struct {
	Group   shard.GroupID  `json:"group"`
	UUID    shard.GroupID  `json:"uuid"`
	Index   shard.Index    `json:"index"`
	Leader  shard.NodeID   `json:"leader"` // "" when the answering node knows none
	Term    uint64         `json:"term"`
	Health  string         `json:"health"` // ok, degraded, recovering, no-quorum or no-leader: the worst that is true
	Node    shard.NodeID   `json:"node"`   // who answered
	AgeMS   int64          `json:"age_ms"` // of its map
	Voters  []shard.NodeID `json:"voters"`
	Members []memberReport `json:"members"`
	Quorum  quorumReport   `json:"quorum"`
	Types   []typeReport   `json:"types"`
	Paused  *pauseReport   `json:"paused"` // null while shards are moved for balance
}

type pauseReport struct {
	Until string `json:"until"` // RFC 3339; "" for no end
}

func reportPause(v *shard.View) *pauseReport {
	switch {
	case !v.Paused:
		return nil
	case v.PausedUntil == 0:
		return &pauseReport{}
	}
	return &pauseReport{moment(v.PausedUntil)}
}

// moment is a time of the leader's clock, in Unix milliseconds, as a person and a program read it.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

type memberReport struct {
	ID        shard.NodeID `json:"id"`
	Addr      string       `json:"addr"`
	Status    string       `json:"status"` // up or down
	Roles     []string     `json:"roles"`
	Zone      string       `json:"zone"`
	Voter     bool         `json:"voter"`
	Leader    bool         `json:"leader"`
	Primaries int          `json:"primaries"`
	Copies    int          `json:"copies"`
	Marks     []string     `json:"marks"` // what was said of the node: cordoned, draining, leaving, maintenance
}

type quorumReport struct {
	Required int            `json:"required"`
	Have     int            `json:"have"`
	Met      bool           `json:"met"`
	Missing  []shard.NodeID `json:"missing"`
}

type typeReport struct {
	Name       shard.TypeName `json:"name"`
	Shards     uint32         `json:"shards"`
	Replicas   int            `json:"replicas"`
	MinAcks    int            `json:"min_acks"`
	Volatile   bool           `json:"volatile"`
	LossyMS    int64          `json:"lossy_failover_ms"` // it goes on without copies that are away for so long; 0: never
	Active     int            `json:"active"`
	Recovering int            `json:"recovering"` // every shard that is not active
	Degraded   int            `json:"degraded"`   // active, and a copy of it is lost or on a node that is down, or it writes to too few
}

type shardReport struct {
	Type           shard.TypeName      `json:"type"`
	Shard          shard.Number        `json:"shard"`
	Epoch          shard.Epoch         `json:"epoch"`
	ConfigVersion  shard.ConfigVersion `json:"config_version"`
	Status         string              `json:"status"`
	Primary        shard.NodeID        `json:"primary"`
	InSync         []shard.NodeID      `json:"in_sync"`
	Learners       []shard.NodeID      `json:"learners"`
	WriteQuorum    int                 `json:"write_quorum"`
	FullQuorum     int                 `json:"full_write_quorum"`    // the type's own
	Degraded       bool                `json:"degraded"`             // the write quorum is lower than that
	Allowed        int                 `json:"allowed_write_quorum"` // how low an operator allows it to be, 0 for no lower
	RecoveryQuorum int                 `json:"recovery_quorum"`
	Aside          int                 `json:"kept_aside"` // copies that it went on without
	Reason         shard.Cause         `json:"reason"`
}

func reportStatus(s client.State) statusReport {
	r := statusReport{
		Group: s.View.Group, UUID: s.View.Group, Index: s.View.Index, Leader: s.Leader, Term: s.Term,
		Node: s.Node, AgeMS: s.Age.Milliseconds(), Voters: []shard.NodeID{},
		Members: reportMembers(s), Quorum: reportQuorum((&fsm.State{View: s.View}).Gate()), Types: reportTypes(s.View), Paused: reportPause(s.View),
	}
	for _, m := range r.Members {
		if m.Voter {
			r.Voters = append(r.Voters, m.ID)
		}
	}
	r.Health = health(r)
	return r
}

func health(r statusReport) string {
	recovering := slices.ContainsFunc(r.Types, func(t typeReport) bool { return t.Recovering > 0 })
	degraded := slices.ContainsFunc(r.Types, func(t typeReport) bool { return t.Degraded > 0 }) ||
		slices.ContainsFunc(r.Members, func(m memberReport) bool { return m.Status != "up" })
	switch {
	case r.Leader == "":
		return "no-leader"
	case !r.Quorum.Met:
		return "no-quorum"
	case recovering:
		return "recovering"
	case degraded:
		return "degraded"
	}
	return "ok"
}

func reportMembers(s client.State) []memberReport {
	primaries, copies := load(s.View)
	all := []memberReport{}
	for _, id := range slices.Sorted(maps.Keys(s.View.Members)) {
		m := s.View.Members[id]
		status := "down"
		if s.View.Up(id) {
			status = "up"
		}
		all = append(all, memberReport{
			ID: id, Addr: m.Addr, Status: status, Roles: list(m.Roles), Zone: m.Zone, Voter: m.Voter,
			Leader: id == s.Leader, Primaries: primaries[id], Copies: copies[id], Marks: marksOf(m),
		})
	}
	return all
}

// marksOf lists what operators, and the node itself, said of a node.
func marksOf(m shard.Member) []string {
	marks := []string{}
	for _, mark := range []struct {
		on   bool
		word string
	}{{m.Cordoned, "cordoned"}, {m.Draining, "draining"}, {m.Leaving, "leaving"}, {m.Maintenance, "maintenance"}} {
		if mark.on {
			marks = append(marks, mark.word)
		}
	}
	return marks
}

// load counts what each node serves and holds.
func load(v *shard.View) (primaries, copies map[shard.NodeID]int) {
	primaries, copies = map[shard.NodeID]int{}, map[shard.NodeID]int{}
	for _, t := range v.Types {
		for _, p := range t.Placements {
			if p == nil {
				continue
			}
			if p.Node != "" {
				primaries[p.Node]++
			}
			for _, c := range p.Copies {
				if c.State != shard.CopyLost {
					copies[c.Node]++
				}
			}
		}
	}
	return primaries, copies
}

func reportQuorum(g fsm.Gate) quorumReport {
	return quorumReport{Required: g.Required, Have: g.Have, Met: g.Met, Missing: list(g.Missing)}
}

func reportTypes(v *shard.View) []typeReport {
	all := []typeReport{}
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		t := v.Types[name]
		r := typeReport{
			Name: name, Shards: t.Spec.Shards, Replicas: t.Spec.Replicas, MinAcks: t.Spec.MinAcks, Volatile: t.Spec.Volatile,
			LossyMS: t.Spec.LossyAfter.Milliseconds(),
		}
		for _, p := range t.Placements {
			switch {
			case p == nil || p.Status != shard.Active:
				r.Recovering++
			default:
				r.Active++
				if p.WriteQuorum < t.Spec.WriteQuorum() ||
					slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.State == shard.CopyLost || !v.Up(c.Node) }) {
					r.Degraded++
				}
			}
		}
		all = append(all, r)
	}
	return all
}

func reportShards(v *shard.View, only shard.TypeName) []shardReport {
	all := []shardReport{}
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		if only != "" && name != only {
			continue
		}
		for number, p := range v.Types[name].Placements {
			all = append(all, reportShard(shard.ID{Type: name, Number: shard.Number(number)}, v.Types[name].Spec, p))
		}
	}
	return all
}

func reportShard(id shard.ID, spec shard.Spec, p *shard.Placement) shardReport {
	r := shardReport{Type: id.Type, Shard: id.Number, Status: "unplaced", InSync: []shard.NodeID{}, Learners: []shard.NodeID{}}
	if p == nil {
		return r
	}
	r.Epoch, r.ConfigVersion, r.Status, r.Primary = p.Epoch, p.Version, p.Status.String(), p.Node
	r.WriteQuorum, r.RecoveryQuorum, r.Reason = p.WriteQuorum, p.RecoveryQuorum(), p.Cause
	r.FullQuorum, r.Degraded, r.Allowed, r.Aside = spec.WriteQuorum(), p.WriteQuorum < spec.WriteQuorum(), p.Floor, len(p.Aside)
	r.InSync = nodesOf(p)
	for _, l := range p.Learners {
		r.Learners = append(r.Learners, l.Copy.Node)
	}
	return r
}

// nodesOf lists where the copies are, the primary's node first.
func nodesOf(p *shard.Placement) []shard.NodeID {
	nodes := []shard.NodeID{}
	for _, c := range p.Copies {
		nodes = append(nodes, c.Node)
	}
	slices.SortFunc(nodes, func(a, b shard.NodeID) int {
		if a == p.Node || b == p.Node {
			return cmp.Compare(boolInt(b == p.Node), boolInt(a == p.Node))
		}
		return cmp.Compare(a, b)
	})
	return nodes
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// list is never null in JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
