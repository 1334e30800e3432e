package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Result is a run of the benchmark as it is kept.
type Result struct {
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit"`
	Quick    bool              `json:"quick"` // shorter and fewer runs: for working on something, not for the record
	Repeats  int               `json:"repeats"`
	Seconds  float64           `json:"seconds"` // of one measured run
	Took     float64           `json:"took"`    // seconds, the whole
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Goals    []*Goal           `json:"goals"`
	Figures  []*Figure         `json:"figures"`
}

// Machine is where a run took place.
type Machine struct {
	CPU     string  `json:"cpu"`
	Cores   int     `json:"cores"`
	Memory  uint64  `json:"memory"` // bytes
	Kernel  string  `json:"kernel"`
	Disk    string  `json:"disk"`     // the file system of the data
	SyncP50 float64 `json:"sync_p50"` // µs: fdatasync after an append of 128 bytes, alone
}

// memoryFS is tmpfs, where fsync does nothing.
const memoryFS = 0x01021994

// describe looks at the machine, and refuses one whose disk is memory: nothing durable can be measured there.
func describe(dir string) (m Machine, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return m, err
	}
	if fs.Type == memoryFS {
		return m, fmt.Errorf("%s is in memory (tmpfs), where fsync costs nothing: name a directory on a disk with -dir", dir)
	}
	m.Disk = fmt.Sprintf("file system type %#x", fs.Type)
	m.Cores = runtime.NumCPU()
	m.CPU = field("/proc/cpuinfo", "model name")
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d", &m.Memory); err == nil {
		m.Memory <<= 10
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	m.SyncP50, err = syncTime(dir)
	return m, err
}

// field is the first value of a name in a file of "name: value" lines.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func syncTime(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var took []float64
	for range 200 {
		if _, err := f.Write(make([]byte, eventSize)); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := syncData(f); err != nil {
			return 0, err
		}
		took = append(took, micros(time.Since(began)))
	}
	return median(took), nil
}

// told are the modules whose versions the document names.
var told = []string{
	"go.etcd.io/bbolt", "google.golang.org/grpc", "github.com/hashicorp/raft", "go.etcd.io/etcd/server/v3",
	"github.com/nats-io/nats-server/v2", "github.com/asynkron/protoactor-go",
}

// versions of what is measured, from the programs themselves.
func versions(reference string) map[string]string {
	all := map[string]string{"go": runtime.Version()}
	self, _ := os.Executable() // it runs, so it is there
	for _, program := range []string{self, reference} {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			continue
		}
		for _, m := range info.Deps {
			if slices.Contains(told, m.Path) {
				all[m.Path] = m.Version
			}
		}
	}
	return all
}

// commit is what is checked out, with a + when there is more than that.
func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(out))
	if status, err := exec.Command("git", "status", "--porcelain").Output(); err == nil && len(status) > 0 {
		id += "+"
	}
	return id
}

func readResult(file string) (*Result, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// save writes the result so that its changes can be read line by line.
func (r *Result) save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
