//go:build !linux

package node

// widen does nothing: other systems are not asked for huge pages in this way.
func widen(int) {}
