package region

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"

	"muster/shard"
)

// A table is a map that is read on every message and changed when the map of the group changes. Safe for concurrent use.
type table[K comparable, V any] struct{ entries sync.Map }

func (t *table[K, V]) get(key K) (V, bool) {
	v, ok := t.entries.Load(key)
	if !ok {
		var none V
		return none, false
	}
	return v.(V), true
}

func (t *table[K, V]) put(key K, v V) { t.entries.Store(key, v) }

func (t *table[K, V]) drop(key K) { t.entries.Delete(key) }

// all yields the values, in no order.
func (t *table[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.entries.Range(func(_, v any) bool { return yield(v.(V)) })
	}
}

// owners says who runs the commands of a shard here: a place for each number of a type, so that a message finds its owner by
// one look at the few names of types. Safe for concurrent use.
type owners struct {
	types   atomic.Pointer[map[shard.TypeName]places]
	changes sync.Mutex // of types and places, which readers take as they find them
}

type places []atomic.Pointer[owner]

// get returns nil for nobody.
func (o *owners) get(id shard.ID) owner {
	types := o.types.Load()
	if types == nil {
		return nil
	}
	if p := (*types)[id.Type]; int(id.Number) < len(p) {
		if who := p[id.Number].Load(); who != nil {
			return *who
		}
	}
	return nil
}

func (o *owners) put(id shard.ID, who owner) {
	o.changes.Lock()
	defer o.changes.Unlock()
	o.room(id)[id.Number].Store(&who)
}

func (o *owners) drop(id shard.ID) {
	o.changes.Lock()
	defer o.changes.Unlock()
	o.room(id)[id.Number].Store(nil)
}

// room returns the places of a type, with one for the shard. The caller holds the lock.
func (o *owners) room(id shard.ID) places {
	types := map[shard.TypeName]places{}
	if old := o.types.Load(); old != nil {
		types = *old
	}
	p := types[id.Type]
	if int(id.Number) < len(p) {
		return p
	}
	more := make(places, max(int(id.Number)+1, 2*len(p)))
	for i := range p {
		more[i].Store(p[i].Load())
	}
	types = maps.Clone(types)
	types[id.Type] = more
	o.types.Store(&types)
	return more
}
