package plan

// leastLoaded evens out: of each type no two hosts have copies, or lead shards, that differ by more than one, where that can be
// had; zones are spread before. Then what leads much goes where little is led, see levelLoad.
type leastLoaded struct{}

func (leastLoaded) found(t *table) func(int32) []int32 { return newDealer(t).deal }

func (leastLoaded) room(t *table, row, except int32) int32 { return t.roomiest(row, except) }

func (leastLoaded) level(t *table) {
	t.spread()
	t.levelCopies()
	t.levelLeads()
	t.levelLoad()
}
