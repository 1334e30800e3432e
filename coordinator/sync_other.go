//go:build !linux

package coordinator

import "os"

// syncData makes what was written to a file durable. On macOS Sync has the drive empty its cache too (F_FULLFSYNC), which takes longer than
// an fsync there and is what a vote needs.
func syncData(f *os.File) error { return f.Sync() }
