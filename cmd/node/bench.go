package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/entity"
	measure "muster/internal/load"
	"muster/shard"
)

// benchFlags say what load is put on a group.
type benchFlags struct {
	remote   *remote
	callers  *int
	length   *time.Duration
	rate     *float64
	entities *int
	read     *bool
}

const (
	mostCallers  = 16_384
	mostEntities = 10_000_000
)

var benchVerb = verb{
	use:   "bench",
	short: "measure how fast a group answers",
	long: "Puts load on the counters bench-0, bench-1, ... of a group and prints how many commands it answered and how long that took. Each\n" +
		"caller adds 1 to one counter after the other and asks again when it was answered; with --read it only reads. With --rate commands\n" +
		"are due at that rate, and latency counts from when one was due, so a stall of the group is charged for everything that should\n" +
		"have been asked meanwhile. Callers that got an error stop. --timeout is for one command. An interrupt ends the run in good\n" +
		"order: what was measured is printed.",
	example: "muster bench --callers 4 --for 1s",
	output:  `CALLERS  COMMANDS  FAILED  SECONDS  PER SECOND  P50 MS  P99 MS  P99.9 MS  MAX MS`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		f := &benchFlags{
			remote: remoteFlags(flags, defaultTimeout), callers: flags.Int("callers", 64, "how many ask at once"),
			length: flags.Duration("for", 10*time.Second, "how long"), rate: flags.Float64("rate", 0, "commands per second in all; 0: as fast as answers come"),
			entities: flags.Int("entities", 1000, "how many counters are asked"), read: flags.Bool("read", false, "read instead of adding"),
		}
		return func(ctx context.Context, _ []string) error { return f.run(ctx, t) }
	},
}

// benchReport is what a run was like.
type benchReport struct {
	Callers     int     `json:"callers"`
	Rate        float64 `json:"rate"` // that was asked for, 0 for a closed loop
	Commands    uint64  `json:"commands"`
	Failed      uint64  `json:"failed"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"per_second"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	P999        float64 `json:"p999_ms"`
	Max         float64 `json:"max_ms"`
	Interrupted bool    `json:"interrupted"`
}

func (f *benchFlags) run(ctx context.Context, t *terminal) error {
	switch {
	case *f.callers < 1 || *f.callers > mostCallers:
		return misusef("callers = %d, must be 1 to %d", *f.callers, mostCallers)
	case *f.entities < 1 || *f.entities > mostEntities:
		return misusef("entities = %d, must be 1 to %d", *f.entities, mostEntities)
	case *f.length <= 0 || *f.remote.timeout <= 0 || *f.rate < 0:
		return misusef("for = %s, timeout = %s, rate = %g: the times must be above 0, the rate not below", *f.length, *f.remote.timeout, *f.rate)
	}
	secure, err := f.remote.files.load()
	if err != nil {
		return misuse{err}
	}
	bounded, cancel := context.WithTimeout(ctx, *f.remote.timeout)
	defer cancel()
	c, err := client.Open(bounded, client.Config{Addrs: *f.remote.addrs, TLS: secure})
	if err != nil {
		return err
	}
	defer c.Close()
	b := &benchRun{flags: f, client: c}
	defer b.progress(t)()
	s := measure.Loop{Callers: *f.callers, For: *f.length, Rate: *f.rate}.Run(ctx, b.ask)
	if err := t.show(reportBench(s, *f.rate, ctx.Err() != nil), func(w *columns) { benchTable(w, s) }); err != nil {
		return err
	}
	if s.Failed > 0 {
		return fmt.Errorf("%d callers got an error, the first: %w", s.Failed, b.fault)
	}
	return nil
}

// benchRun is a run under way. Its methods are called by all callers.
type benchRun struct {
	flags  *benchFlags
	client *client.Client
	done   atomic.Uint64
	first  sync.Once
	fault  error
}

// ask sends one command. An interrupt does not reach it: it ends by itself soon, and its outcome stays known.
func (b *benchRun) ask(ctx context.Context, caller, n int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), *b.flags.remote.timeout)
	defer cancel()
	e := entity.Envelope{Type: counterName, Command: "add", Payload: []byte(`{"n":1}`)}
	e.Entity = shard.EntityID(fmt.Sprint("bench-", (caller*7919+n*104_729)%*b.flags.entities))
	if *b.flags.read {
		e.Command, e.Payload = "get", []byte("null")
	}
	reply, err := b.client.Ask(ctx, e)
	if err == nil {
		var r counterReply
		if err = json.Unmarshal(reply, &r); err == nil && r.Value < 1 && !*b.flags.read {
			err = shard.Errorf(shard.CodeInternal, "counter %s answered %d to an addition", e.Entity, r.Value)
		}
	}
	if err != nil {
		b.first.Do(func() { b.fault = err })
		return err
	}
	b.done.Add(1)
	return nil
}

// progress tells a person at a terminal each second how far the run is, and returns what ends that.
func (b *benchRun) progress(t *terminal) (end func()) {
	file, ok := t.err.(*os.File)
	if !ok {
		return func() {}
	}
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	ticks, stop, ended := time.NewTicker(time.Second), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := uint64(0); ; {
			select {
			case <-ticks.C:
				now := b.done.Load()
				t.note("%d commands, %d in this second", now, now-last)
				last = now
			case <-stop:
				return
			}
		}
	}()
	return func() {
		ticks.Stop()
		close(stop)
		<-ended
	}
}

func reportBench(s *measure.Sample, rate float64, interrupted bool) benchReport {
	ms := func(q float64) float64 { return float64(s.Latency.Quantile(q).Microseconds()) / 1e3 }
	return benchReport{
		Callers: s.Callers, Rate: rate, Commands: s.Ops + s.Late, Failed: s.Failed, Seconds: s.Seconds, PerSecond: s.Rate(),
		P50: ms(0.5), P99: ms(0.99), P999: ms(0.999), Max: ms(1), Interrupted: interrupted,
	}
}

func benchTable(w *columns, s *measure.Sample) {
	r := reportBench(s, 0, false)
	w.row("CALLERS", "COMMANDS", "FAILED", "SECONDS", "PER SECOND", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS")
	w.row(r.Callers, r.Commands, r.Failed, fmt.Sprintf("%.1f", r.Seconds), fmt.Sprintf("%.0f", r.PerSecond), r.P50, r.P99, r.P999, r.Max)
}
