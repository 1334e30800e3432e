package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// A report is what a demo found out. The JSON keys are stable; durations are milliseconds.
type report struct {
	Transactions int         `json:"transactions"`
	Accounts     int         `json:"accounts"`
	Group        groupReport `json:"group"`
	Killed       *killReport `json:"killed,omitempty"`
	Seconds      float64     `json:"seconds"`
	PerSecond    float64     `json:"events_per_second"`
	P50          float64     `json:"p50_ms"`
	P99          float64     `json:"p99_ms"`
	GapMedian    float64     `json:"without_service_median_ms"` // over shards, the longest of each
	GapMax       float64     `json:"without_service_max_ms"`
	Unclear      int64       `json:"outcomes_read_back"`
	Lost         int64       `json:"events_lost"`
	Doubled      int64       `json:"events_doubled"`
	Different    []string    `json:"accounts_different"`
}

type groupReport struct {
	Nodes    int `json:"nodes"`
	Shards   int `json:"shards"`
	Replicas int `json:"replicas"`
	MinAcks  int `json:"min_acks"`
	Callers  int `json:"callers"`
}

type killReport struct {
	Node      string  `json:"node"`
	Why       string  `json:"why"`
	Primaries int     `json:"primaries"`
	After     int64   `json:"after_transactions"`
	Served    float64 `json:"all_shards_served_ms"`
	Back      float64 `json:"back_and_caught_up_ms"` // from its start
}

const maxDifferent = 20 // accounts named in a report

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measure fills in what the replay saw.
func (p *report) measure(r *replay) {
	p.Seconds = r.duration.Seconds()
	p.PerSecond = float64(r.total) / p.Seconds
	p.P50, p.P99 = ms(quantile(r.latencies, 0.5)), ms(quantile(r.latencies, 0.99))
	var gaps []time.Duration
	for _, s := range r.services {
		gaps = append(gaps, s.gap())
	}
	p.GapMedian, p.GapMax = ms(quantile(gaps, 0.5)), ms(quantile(gaps, 1))
	p.Unclear = r.asked.Load()
}

// compare holds what the group says against the sums of the file.
func (p *report) compare(got, want map[int64]Account) {
	p.Different = []string{}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		g, w := got[id], want[id]
		p.Lost += max(0, w.Postings-g.Postings)
		p.Doubled += max(0, g.Postings-w.Postings)
		if g != w && len(p.Different) < maxDifferent {
			p.Different = append(p.Different, fmt.Sprintf("account %d: %s after %d postings, should be %s after %d",
				id, money(g.Balance), g.Postings, money(w.Balance), w.Postings))
		}
	}
}

// verdict is nil when not one hundredth is missing.
func (p *report) verdict() error {
	if len(p.Different) == 0 {
		return nil
	}
	return fmt.Errorf("the group's balances are not those of the file:\n  %s", strings.Join(p.Different, "\n  "))
}

func (p *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(p)
}

func (p *report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	g := p.Group
	fmt.Fprintf(w, "transactions\t%s of %s accounts, %d callers\n", thousands(p.Transactions), thousands(p.Accounts), g.Callers)
	fmt.Fprintf(w, "group\t%d nodes, %d shards, replicas %d, min_acks %d\n", g.Nodes, g.Shards, g.Replicas, g.MinAcks)
	if k := p.Killed; k != nil {
		fmt.Fprintf(w, "killed\t%s (%s, primary of %d shards) after %s transactions\n", k.Node, k.Why, k.Primaries, thousands(int(k.After)))
		fmt.Fprintf(w, "\tevery shard served again after %.0f ms; back and caught up %.0f ms after its start\n", k.Served, k.Back)
	}
	fmt.Fprintf(w, "events per second\t%s\n", thousands(int(p.PerSecond)))
	fmt.Fprintf(w, "latency\tp50 %.1f ms, p99 %.1f ms\n", p.P50, p.P99)
	fmt.Fprintf(w, "without service\tmedian shard %.1f ms, longest %.1f ms\n", p.GapMedian, p.GapMax)
	if p.Unclear > 0 {
		fmt.Fprintf(w, "outcomes read back\t%d\n", p.Unclear)
	}
	if len(p.Different) == 0 {
		fmt.Fprintf(w, "balances\tall %s equal the sums of the file\n", thousands(p.Accounts))
	} else {
		fmt.Fprintf(w, "balances\tDIFFERENT, see below\n")
	}
	fmt.Fprintf(w, "events lost\t%d\n", p.Lost)
	if p.Doubled > 0 {
		fmt.Fprintf(w, "events doubled\t%d\n", p.Doubled)
	}
	return w.Flush()
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// writeBalances writes "account balance" lines, in hundredths, by account number.
func writeBalances(path string, balances map[int64]Account) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, id := range slices.Sorted(maps.Keys(balances)) {
		fmt.Fprintf(w, "%d %d\n", id, balances[id].Balance)
	}
	return errors.Join(w.Flush(), f.Close())
}

// A progress says on a terminal how far things are, and otherwise nothing.
type progress struct {
	out  io.Writer
	live bool
	stop chan struct{}
	done chan struct{}
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// say prints a line of its own.
func (p *progress) say(format string, args ...any) {
	clear := ""
	if p.live {
		clear = "\r\x1b[K"
	}
	fmt.Fprintf(p.out, clear+format+"\n", args...)
}

// bar shows n of total until the returned function is called.
func (p *progress) bar(n *atomic.Int64, total int) (end func()) {
	if !p.live {
		return func() {}
	}
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(p.done)
		for ticker := time.NewTicker(2 * glance); ; {
			p.draw(int(n.Load()), total, time.Since(start))
			select {
			case <-p.stop:
				ticker.Stop()
				fmt.Fprint(p.out, "\r\x1b[K")
				return
			case <-ticker.C:
			}
		}
	}()
	return func() {
		close(p.stop)
		<-p.done
	}
}

func (p *progress) draw(n, total int, elapsed time.Duration) {
	const width = 40
	full := width * n / max(1, total)
	fmt.Fprintf(p.out, "\r\x1b[K[%s%s] %s of %s, %s/s", strings.Repeat("#", full), strings.Repeat(".", width-full),
		thousands(n), thousands(total), thousands(int(float64(n)/max(elapsed.Seconds(), 0.001))))
}
