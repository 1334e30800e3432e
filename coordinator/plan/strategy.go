package plan

import (
	"slices"

	"muster/shard"
)

// A strategy decides where the shards of a type go beyond what safety asks for. Which copies a shard lacks, what leaves a node that
// is drained or stops, and what is pinned is the same for all.
//
// It must send nothing to a site that is no host or has a copy of the shard, and come to an end: of a view to which its moves
// were made it wants none. The conformance test says so of each.
type strategy interface {
	// found returns what chooses the sites of new rows, the primary's first. It counts what it has chosen.
	found(t *table) func(row int32) []int32
	// room returns the best host for a further copy of the row while the one on except leaves, nowhere when there is none.
	room(t *table, row, except int32) int32
	// level plans the moves that make a healthy type what the strategy wants.
	level(t *table)
}

// strategies is the table of them. To add one: its file, its name in shard, its line here, a script in testdata/plan.
var strategies = []struct {
	name    shard.Strategy
	tactics strategy
}{
	{shard.LeastLoaded, leastLoaded{}},
	{shard.Rendezvous, rendezvous{}},
	{shard.External, external{}},
}

// Strategies returns the names of the table.
func Strategies() []shard.Strategy {
	var names []shard.Strategy
	for _, s := range strategies {
		names = append(names, s.name)
	}
	return names
}

// tacticsOf returns the strategy of a type. A spec with an unknown one is refused before it gets here.
func tacticsOf(spec shard.Spec) strategy {
	i := slices.IndexFunc(strategies, func(s struct {
		name    shard.Strategy
		tactics strategy
	}) bool {
		return s.name == spec.Strategy
	})
	return strategies[max(0, i)].tactics
}
