package load

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what processes have used since they started, as /proc tells it.
type Usage struct {
	CPU     time.Duration // in user and kernel mode, to 10 ms
	Written uint64        // bytes given to block devices, or to the page cache on their way there
	Memory  uint64        // bytes resident now
}

// tick is the unit of times in /proc/PID/stat, which Linux has fixed for programs at 100 Hz.
const tick = 10 * time.Millisecond

// Used adds up what the processes and everything they started, and that still runs, have used.
func Used(pids ...int) (Usage, error) {
	children, err := childrenOf()
	if err != nil {
		return Usage{}, err
	}
	var all Usage
	for len(pids) > 0 {
		pid := pids[0]
		u, err := usedBy(pid)
		if err != nil {
			return Usage{}, err
		}
		all.CPU, all.Written, all.Memory = all.CPU+u.CPU, all.Written+u.Written, all.Memory+u.Memory
		pids = append(pids[1:], children[pid]...)
	}
	return all, nil
}

// Sub returns what was used since an earlier look. Memory is the present one.
func (u Usage) Sub(before Usage) Usage {
	return Usage{CPU: u.CPU - before.CPU, Written: u.Written - before.Written, Memory: u.Memory}
}

// fields are those of /proc/PID/stat after the name, which may hold anything: the first is the state, field 3 of proc(5).
func fields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 22 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	return f, nil
}

const (
	statParent = 4 - 3
	statUser   = 14 - 3
	statSystem = 15 - 3
	statPages  = 24 - 3
)

func usedBy(pid int) (u Usage, err error) {
	f, err := fields(pid)
	if err != nil {
		return u, err
	}
	user, err1 := strconv.ParseInt(f[statUser], 10, 64)
	system, err2 := strconv.ParseInt(f[statSystem], 10, 64)
	pages, err3 := strconv.ParseUint(f[statPages], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return u, fmt.Errorf("/proc/%d/stat: %v %v %v", pid, err1, err2, err3)
	}
	u.CPU, u.Memory = time.Duration(user+system)*tick, pages*uint64(os.Getpagesize())
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(b)) {
		if n, found := strings.CutPrefix(strings.TrimSpace(line), "write_bytes: "); found {
			u.Written, err = strconv.ParseUint(n, 10, 64)
		}
	}
	return u, err
}

// childrenOf lists the children of every process.
func childrenOf() (map[int][]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, s := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if err != nil {
			continue
		}
		f, err := fields(pid)
		if err != nil {
			continue // it ended meanwhile
		}
		parent, err := strconv.Atoi(f[statParent])
		if err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	return children, nil
}
