// Package boottime is the clock that leases are counted on.
package boottime
