package region

import "slices"

// A queue is a first-in-first-out list on a slice. Popped places are cleared, so nothing is kept alive, and the front is
// reclaimed when it is the larger part.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	if len(q.items) == cap(q.items) {
		q.items = doubled(q.items)
	}
	q.items = append(q.items, v)
}

// doubled returns items with room for as many again: append alone gives a long slice a quarter more, and copies it so often
// that what it leaves behind is several times what it holds.
func doubled[T any](items []T) []T { return slices.Grow(items, max(4, len(items))) }

// grow makes room for n more at once.
func (q *queue[T]) grow(n int) { q.items = slices.Grow(q.items, n) }

func (q *queue[T]) front() T { return q.items[q.head] }

func (q *queue[T]) all() []T { return q.items[q.head:] }

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 64 && q.head > len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// take empties the queue.
func (q *queue[T]) take() []T {
	all := q.all()
	*q = queue[T]{}
	return all
}

// reuse gives an empty queue the memory of what was taken from it, unless it is much.
func (q *queue[T]) reuse(taken []T) {
	const most = 64
	if q.items == nil && cap(taken) <= most {
		clear(taken)
		q.items = taken[:0]
	}
}

// insert puts v before position i, counted from the front.
func (q *queue[T]) insert(i int, v T) {
	q.items = append(q.items, v)
	at := q.items[q.head+i:]
	copy(at[1:], at)
	at[0] = v
}

// filter keeps what the test says, in order.
func (q *queue[T]) filter(keep func(T) bool) {
	q.items = slices.DeleteFunc(q.all(), func(v T) bool { return !keep(v) })
	q.head = 0
}
