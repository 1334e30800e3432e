package journal

import "syscall"

// mapWhole has the kernel map all pages of the file at once, and read in one go those that are not in memory. The walks of Open
// touch all of them anyway, one fault each: that was two thirds of what they took.
const mapWhole = syscall.MAP_POPULATE
