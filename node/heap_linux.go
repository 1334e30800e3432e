package node

import (
	"runtime"
	"syscall"
)

// widen asks the kernel for huge pages where the heap grows next. In its first second a node reads its logs and its entities back
// into memory that was never touched, hundreds of megabytes of it, and a fault for every four kilobytes was a third of the
// time that took. A kernel that grants none changes nothing else.
func widen(bytes int) {
	ahead := make([]byte, bytes) // never written to either, and garbage at once: what is allocated next comes to stand there
	_ = syscall.Madvise(ahead, syscall.MADV_HUGEPAGE)
	runtime.GC()
}
