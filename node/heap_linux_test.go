package node_test

import (
	"runtime/debug"
	"slices"
	"syscall"
	"testing"

	"muster/node"
)

// What is allocated after HeapFloor is of huge pages, if the kernel gives any: memory that is touched for the first time costs a
// fault for each of these, and not for each small page.
func TestHeapFloorIsOfHugePages(t *testing.T) {
	if built, ok := debug.ReadBuildInfo(); ok && slices.Contains(built.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector's own memory counts as well")
	}
	granted(t)
	node.HeapFloor(node.DefaultHeapFloor)
	keep := make([][]byte, pieces)
	before := faults(t)
	for i := range keep {
		keep[i] = make([]byte, piece)
		keep[i][0] = 1
	}
	if n := faults(t) - before; !few(n) {
		granted(t) // still: on a machine whose memory others use it may have run out of them
		t.Errorf("%d faults for %d bytes", n, pieces*piece)
	}
}

const pieces, piece, small = 32 << 10, 2 << 10, 4 << 10

func few(faults int64) bool { return faults < pieces*piece/small/4 }

// granted skips the test when the kernel has no huge pages to give.
func granted(t *testing.T) {
	t.Helper()
	own, err := syscall.Mmap(-1, 0, pieces*piece, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(own)
	_ = syscall.Madvise(own, syscall.MADV_HUGEPAGE)
	before := faults(t)
	for i := range pieces {
		own[i*piece] = 1
	}
	if n := faults(t) - before; !few(n) {
		t.Skipf("%d faults for memory that is to be of huge pages: the kernel gives none", n)
	}
}

func faults(t *testing.T) int64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Minflt
}
