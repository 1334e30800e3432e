package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// writeDocument writes a result as docs/performance.md.
func writeDocument(w io.Writer, r *Result) {
	fmt.Fprint(w, `# Performance

This page is written by `+"`make bench-docs`"+` from [bench/result.json](bench/result.json), a run of `+"`make bench`"+`. Every goal is a ratio
of two things measured in one run on one machine: Muster, and what limits it or competes with it. Absolute numbers say where both stood
on this machine and nothing about another.

`)
	m := r.Machine
	t := table{header: []string{"", ""}}
	t.row("date", r.Date.Format("2006-01-02 15:04 MST"))
	t.row("commit", r.Commit)
	t.row("machine", fmt.Sprintf("%s, %d cores, %s GB, Linux %s", m.CPU, m.Cores, number(float64(m.Memory>>30)), m.Kernel))
	t.row("disk", fmt.Sprintf("%s, fdatasync p50 %s µs", m.Disk, number(m.SyncP50)))
	t.row("runs", fmt.Sprintf("%d repeats of %s s, medians; %s minutes in all", r.Repeats, number(r.Seconds), number(r.Took/60)))
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		t.row(name, r.Versions[name])
	}
	t.write(w)
	if r.Quick {
		fmt.Fprintln(w, "\nThis was a quick run: short repeats, good for a direction and not for the record.")
	}
	fmt.Fprint(w, "\n## The goals\n\n")
	writeGoals(w, r.Goals)
	fmt.Fprint(w, "\n## What was measured\n\n")
	writeFigures(w, r.Figures)
	fmt.Fprint(w, `
## How to read it

* **reached** is the median of the repeats, **min – max** their range. A ratio is taken between neighbours in time: the systems take turns under
  the same load, in another order each time. **short** means that the goal is not reached, **blank** that there is nothing to judge yet.
* *At the owner* the callers are in the process that owns the entity, as those of the bare pipeline are in its primary. *From any node* two of three commands
  cross to another process first, as the requests of the clients of etcd and NATS do.
* A durable figure counts only with the flushes that it claims: all fsyncs of all processes are counted, where the system tells them. NATS and dragonboat do not.
  A run in which an ask was lost or a reply was wrong is void, and so is one after which the entities counted other than what was confirmed.
* Load is a closed loop, each caller asking again when it was answered, unless it says *open loop*: there a command's latency counts from when it was
  due, so a stall is charged to everything that should have been asked meanwhile. Its rate is a share of what the closed loop right before it reached.
* The rows called *growth* double one thing at a time; [scaling.md](scaling.md) says what that should change and why.
* CPU is that of all processes of a system, its callers included, from /proc, as are the bytes written. dragonboat runs in one process with its callers.

## How to repeat it

`+"```"+`
make bench                                  # everything, in at most 20 minutes, on a machine that does nothing else
make bench ROWS=P1,P4 QUICK=1               # some rows, soon
make bench OUT=docs/bench/result.json       # for the record; then make bench-docs
make bench BASELINE=docs/bench/result.json  # and compare with what is kept
muster bench --addr HOST:PORT               # a group of your own
`+"```"+`

Data goes to the directory of temporary files, which must be on a disk; a file system in memory is refused, since an fsync costs nothing there.
`)
}
