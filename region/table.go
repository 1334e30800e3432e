package region

import (
	"iter"
	"sync"
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
