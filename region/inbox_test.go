package region

import "testing"

// A host is put in line once when something comes for it while it is idle, not while somebody works for it, and once more when it
// is to end; what came before that is worked off first.
func TestAHostIsReadyOnceUntilItIsIdle(t *testing.T) {
	ready := 0
	in := newInbox(func() { ready++ })
	expect := func(wanted int, when string) {
		t.Helper()
		if ready != wanted {
			t.Fatalf("ready %d times %s, not %d", ready, when, wanted)
		}
	}
	tick := func() bool { return in.put(func(b *batch) { b.ticks++ }) }
	work := func(ticks int, end bool) {
		t.Helper()
		b, over := in.take()
		if b != nil && b.ticks != ticks || b == nil && ticks > 0 || over != end {
			t.Fatalf("took %v, over %v; not %d ticks, over %v", b, over, ticks, end)
		}
		if b != nil {
			in.worked(b)
		}
	}

	tick()
	expect(0, "before it was idle")
	work(1, false)
	work(0, false)
	tick()
	tick()
	expect(1, "after two puts")
	work(2, false)
	tick()
	expect(1, "while somebody works for it")
	work(1, false)
	work(0, false)
	in.close()
	in.close()
	expect(2, "after the end")
	work(0, true)
	if tick() {
		t.Error("something was taken in after the end")
	}
	expect(2, "after what came too late")
}
