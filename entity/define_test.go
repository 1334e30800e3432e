package entity_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

func ok[S any](*entity.Context[S], struct{}) (struct{}, error) { return struct{}{}, nil }

// What JSON would lose, in itself or embedded.
type (
	hidden struct{ balance int64 }
	nested struct{ M map[string][]*hidden }
	amount int64
	inner  struct{ A int }
)

var _ = hidden{balance: 0}

// Every mistake in a definition panics where it is made, with a sentence that names the type and what is wrong.
func TestMistakesPanicAtDefinition(t *testing.T) {
	fresh := func() *entity.Type[int] { return entity.Define[int]("t") }
	for _, c := range []struct {
		what, want string
		do         func()
	}{
		{"upper case", "must start with a-z", func() { entity.Define[int]("Account") }},
		{"no shards", "shards = 0", func() { entity.Define[int]("t", entity.Shards(0)) }},
		{"negative shards", "shards = 0", func() { entity.Define[int]("t", entity.Shards(-1)) }},
		{"too many shards", "shards = 65537", func() { entity.Define[int]("t", entity.Shards(1<<40)) }},
		{"acks beyond replicas", "min_acks = 3", func() { entity.Define[int]("t", entity.Replicate(2, 3, 0)) }},
		{"negative timeout", "ack_timeout = -1s", func() { entity.Define[int]("t", entity.Replicate(2, 1, -time.Second)) }},
		{"lossy with acks", "lossy", func() { entity.Define[int]("t", entity.Replicate(2, 1, 0), entity.LossyFailover(time.Minute)) }},
		{"lossy without copies", "lossy", func() { entity.Define[int]("t", entity.LossyFailover(time.Minute)) }},
		{"lossy at once", "lossy", func() { entity.Define[int]("t", entity.Replicate(2, 0, 0), entity.LossyFailover(0)) }},
		{"lossy too late", "lossy", func() { entity.Define[int]("t", entity.Replicate(2, 0, 0), entity.LossyFailover(25*time.Hour)) }},
		{"volatile copies", "volatile", func() { entity.Define[int]("t", entity.Volatile(), entity.Replicate(1, 0, 0)) }},
		{"role", "must start with a-z", func() { entity.Define[int]("t", entity.Role("Ü")) }},
		{"snapshots", "snapshot every -1", func() { entity.Define[int]("t", entity.SnapshotEvery(-1)) }},
		{"codec", "codec is nil", func() { entity.Define[int]("t", entity.Encoding(nil)) }},
		{"state lost by JSON", "field balance", func() { entity.Define[hidden]("t") }},
		{"deep in the state", "field balance", func() { entity.Define[nested]("t") }},
		{"embedded and not exported", "field amount", func() { entity.Define[struct{ amount }]("t") }},
		{"pointer to what is not exported", "field inner", func() { entity.Define[struct{ *inner }]("t") }},
		{"state as channel", "cannot be written as JSON", func() { entity.Define[struct{ C chan int }]("t") }},
		{"map keys", "keys are neither", func() { entity.Define[map[float64]int]("t") }},
		{"interface", "cannot be read back", func() { entity.Define[struct{ E error }]("t") }},
		{"raw struct", "neither []byte nor string", func() { entity.Define[Account]("t", entity.Encoding(entity.Raw)) }},
		{"binary struct", "lacks MarshalBinary", func() { entity.Define[Account]("t", entity.Encoding(entity.Binary)) }},
		{"event name", "entity.On(t, \"\")", func() { entity.On(fresh(), "", func(*int, int) {}) }},
		{"nil fold", "fold is nil", func() { entity.On[int, int](fresh(), "e", nil) }},
		{"event lost by JSON", "field balance", func() { entity.On(fresh(), "e", func(*int, hidden) {}) }},
		{"nil handler", "handler is nil", func() { entity.Handle[int, int, int](fresh(), "c", nil) }},
		{"event twice", "name is taken", func() {
			x := fresh()
			entity.On(x, "e", func(*int, int) {})
			entity.On(x, "e", func(*int, int) {})
		}},
		{"command twice", "name is taken", func() {
			x := fresh()
			entity.Handle(x, "c", ok[int])
			entity.Handle(x, "c", ok[int])
		}},
		{"too late", "in use already", func() {
			x := fresh()
			entity.Types(x)
			entity.Handle(x, "c", ok[int])
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("panic %q does not say %q", got, c.want)
				}
			}()
			c.do()
		})
	}
}

// What JSON can carry without loss is accepted, hidden fields included where the type looks after them itself.
func TestTypesThatCarryThemselves(t *testing.T) {
	type node struct {
		At   time.Time
		Next *node
		Any  any
		Skip chan int `json:"-"`
		By   map[time.Time]int
	}
	entity.Define[node]("t")
	entity.Define[struct{ inner }]("t")
	entity.Define[struct{ hidden chan int }]("t", entity.SnapshotEvery(0))
	entity.Define[struct{ hidden chan int }]("t", entity.Volatile())
}

// There is nobody who could confirm the reads of a type without copies.
func TestVolatileReadsAreNotConfirmed(t *testing.T) {
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "a volatile type has no copies") {
			t.Errorf("panic %q", got)
		}
	}()
	entity.Define[int]("t", entity.Volatile(), entity.ConfirmedReads())
}

func TestDefaults(t *testing.T) {
	x := entity.Define[int]("t")
	want := shard.Spec{Name: "t", Shards: 64, AckTimeout: 5 * time.Second}
	if x.Spec() != want || x.SnapshotEvery() != 100 || !x.LeasedReads() {
		t.Errorf("got %+v, snapshots %d, reads by the lease %t", x.Spec(), x.SnapshotEvery(), x.LeasedReads())
	}
	if got := accounts.Spec(); got.Replicas != 2 || got.MinAcks != 1 {
		t.Errorf("got %+v", got)
	}
	if s := entity.Define[int]("t", entity.Volatile()).SnapshotEvery(); s != 0 {
		t.Errorf("a volatile type takes snapshots every %d", s)
	}
}

// Two definitions of one name may exist in a program, but not on one node.
func TestValidateNamesDuplicates(t *testing.T) {
	faults := entity.Validate(entity.Types(accounts, notes, entity.Define[int]("account")))
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "account is listed twice") {
		t.Errorf("got %v", faults)
	}
	if faults := entity.Validate(entity.Types(nil)); len(faults) != 1 {
		t.Errorf("got %v", faults)
	}
}

// Several nodes in one process freeze and use a definition at the same time; the race detector watches.
func TestDefinitionsAreShared(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			entity.Types(accounts)[0].NewCell(entity.ID(fmt.Sprint(i)))
			accounts.Commands()
		})
	}
	wg.Wait()
}
