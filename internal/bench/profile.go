package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"

	"muster/internal/load"
)

// profile begins a CPU profile in each process of a group, if profiles are wanted, and returns what ends it.
func (b *bench) profile(s system, row string, callers int) (end func()) {
	o, ours := s.(*ours)
	if b.profiles == "" || !ours {
		return func() {}
	}
	tell := func(file func(name string) string) {
		err := each(o.group.processes(), func(p *load.Process) error {
			with, err := json.Marshal(file(p.Name))
			if err != nil {
				return err
			}
			return p.Do(load.Request{Do: "profile", With: with}, nil)
		})
		if err != nil {
			b.progress("no profile: %v", err)
		}
	}
	tell(func(name string) string {
		return filepath.Join(b.profiles, fmt.Sprintf("%s-%s-%d-%s.pprof", row, o.work.Where, callers, name))
	})
	return func() { tell(func(string) string { return "" }) }
}

// profile writes a CPU profile to the file that the request names until it names none.
func (m *member) profile(r load.Request) error {
	var file string
	if err := json.Unmarshal(r.With, &file); err != nil {
		return err
	}
	pprof.StopCPUProfile()
	if file == "" {
		return m.profiled.Close()
	}
	var err error
	if err = os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if m.profiled, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(m.profiled)
}
