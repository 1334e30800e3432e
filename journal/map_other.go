//go:build !linux

package journal

// mapWhole asks for nothing: pages are mapped as they are touched, and Open takes longer.
const mapWhole = 0
