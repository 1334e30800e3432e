//go:build !linux

package main

import "os"

// syncData is what a journal pays for durability, measured by itself.
func syncData(f *os.File) error { return f.Sync() }
