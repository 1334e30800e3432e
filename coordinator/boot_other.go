//go:build !linux

package coordinator

import "github.com/google/uuid"

// bootID names this process's look at the kernel alone, as nothing here names a boot in one way. So a later process of a directory never proves
// that the one before is gone, and what waits for that waits for the lease instead.
func bootID() ([]byte, error) { return []byte(uuid.NewString()), nil }
