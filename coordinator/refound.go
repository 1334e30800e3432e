package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"muster/shard"
)

// refound makes the list of founders anew as long as the group has not begun, when one of them has come to another address, has lost its directory, or
// has given its place to another node: from what all the seeds say. Otherwise it returns the list as it is, and what a new one lacks, "" when
// there is no other.
//
// The new list has the same group id, the same first founder, which is this node, and a higher edition, and is durable here before anybody hears of it. The
// others take it in the place of the one they had agreed to.
//
// No two groups come of that. A group begins when its first founder bootstraps, which is the same directory in every edition, and does it once: it has no
// log then, and one for ever after. It begins with the newest edition, and all founders of that have agreed to that very edition. A node agrees to one
// group for good, so it is of use to no other. A founder that is left out votes for nobody: no configuration names it. A Form of an
// earlier edition that comes late, from a call that was given up or a process that is gone, is refused by its number.
//
// Nor does a founder wait for good for a list that never comes. Whoever is sent a Form that it has not agreed to asks the first founder for it, at the address
// that the Form gives, which is a seed's, and agrees only to the group and the edition that this one, in that very directory, says it has agreed to
// itself, see avowed. So the edition of a founder is never above that of the first, which rises by one for each list, and the next list has
// a higher one. That only refuses Forms that were taken before; what makes one group of it, the order of the numbers and the one directory that begins it,
// is as it was. The answer may be old when the founder agrees. Then a later list has come in between and the number tells, or comes after and is taken.
//
// The first founder itself is not replaced. Nobody else could tell that it has not bootstrapped.
func (c *Coordinator) refound(ctx context.Context, founders []Founder) (list []Founder, lacks string, err error) {
	next, lacks := c.afresh(ctx, founders)
	if slices.Equal(next, founders) {
		return founders, lacks, nil
	}
	c.formation.judging.Lock()
	defer c.formation.judging.Unlock()
	d := c.cfg.Directory
	edition := d.now.Load().Edition + 1
	if err := d.form(d.Group(), next, edition); err != nil {
		return nil, "", err
	}
	c.log.Warn("the group has other founders than before", "edition", edition, "founders", next)
	return next, "", nil
}

// afresh lists the founders as the seeds are now: those that were founders before the others. It leaves the list as it is unless every seed answers,
// each under a name of its own, and none of them is in another group or runs Raft.
func (c *Coordinator) afresh(ctx context.Context, founders []Founder) (list []Founder, lacks string) {
	if len(c.cfg.Seeds) == 0 || c.cfg.Voters != len(founders) { // those who agreed were told of so many
		return founders, fmt.Sprintf("this node has %d seeds and expects %d voters, and %d founders have agreed", len(c.cfg.Seeds), c.cfg.Voters, len(founders))
	}
	heard, missing := c.askSeeds(ctx)
	group := c.cfg.Directory.Group()
	elsewhere := func(h hello) bool { return h.hasRaft || h.group != "" && h.group != group }
	others := slices.DeleteFunc(distinct(c.cfg.Seeds), func(a string) bool { return a == c.cfg.Addr })
	switch {
	case !c.cfg.founding():
		return founders, "this node is no founding node"
	case len(missing) > 0 || len(heard) < len(others):
		return founders, "not reached: " + strings.Join(missing, ", ")
	case slices.ContainsFunc(heard, elsewhere):
		return founders, "a seed belongs to another group, or runs already"
	case c.unique(heard) != nil:
		return founders, c.unique(heard).Error()
	}
	all := make([]Founder, len(heard))
	for i, h := range heard {
		all[i] = Founder{h.node, h.addr, h.directory}
	}
	byName := func(a, b Founder) int { return cmp.Compare(a.Node, b.Node) }
	newcomer := func(f Founder) int {
		if slices.ContainsFunc(founders, func(was Founder) bool { return was.Directory == f.Directory }) {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b Founder) int { return cmp.Or(cmp.Compare(newcomer(a), newcomer(b)), byName(a, b)) })
	all = all[:c.cfg.Voters-1]
	slices.SortFunc(all, byName)
	return append([]Founder{c.self()}, all...), ""
}

// replaces fails unless a list of founders may take the place of the one that this node has agreed to, see refound.
func (c *Coordinator) replaces(known *identity, group shard.GroupID, founders []Founder, edition uint64) error {
	belongs := shard.Errorf(shard.CodeWrongGroup, "node %s belongs to group %s already", c.cfg.Node, known.Group)
	first := founders[0].Directory
	if known.Group != group || edition <= known.Edition || len(known.Founders) == 0 || known.Founders[0].Directory != first {
		return belongs
	}
	if first == c.cfg.Directory.ID() {
		return shard.Invalid("node %s is the first founder and makes the list itself", c.cfg.Node)
	}
	v := c.voter.Load()
	if v == nil {
		return shard.Errorf(shard.CodeUnavailable, "node %s has not opened its Raft store yet", c.cfg.Node)
	}
	switch has, err := v.hasLog(); {
	case err != nil:
		return err
	case has:
		return belongs
	}
	return c.expects(founders)
}
