package plan

// external leaves the shards where somebody else puts them, with move and pin. The planner makes up for copies that are lost
// or missing, empties nodes that are drained or stop, and moves nothing for balance.
type external struct{}

func (external) found(t *table) func(int32) []int32 { return newDealer(t).deal }

func (external) room(t *table, row, except int32) int32 { return t.roomiest(row, except) }

func (external) level(*table) {}
