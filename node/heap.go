package node

// DefaultHeapFloor is what a program that is a node and little else gives HeapFloor.
const DefaultHeapFloor = 64 << 20

// floor is never written to, so it costs address space and no memory.
var floor []byte

// HeapFloor has the garbage collector count so many bytes more than are live, and so run the less often: what a node keeps
// is small beside what it allocates under load, and with a heap of a few megabytes the collector ran a hundred times a
// second. The process may hold twice that much garbage more. Four times as much of the heap is to be of huge pages, see widen. It
// is the program's to decide, so no node does it by itself. A floor that was set is only ever raised. Call it at the start; it is
// not safe for concurrent use.
func HeapFloor(bytes int) {
	if bytes > len(floor) {
		floor = make([]byte, bytes)
		widen(4 * bytes)
	}
}
