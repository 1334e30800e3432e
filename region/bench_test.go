package region_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"muster/entity"
	"muster/journal"
)

// blob is a type whose commands, events and replies are bytes, so that no codec is measured.
type blobs struct {
	*entity.Type[[]byte]
	put *entity.Command[[]byte, []byte, []byte]
	get *entity.Command[[]byte, []byte, []byte]
}

func defineBlobs(name string, options ...entity.Option) *blobs {
	t := entity.Define[[]byte](name, append(options, entity.Encoding(entity.Raw))...)
	written := entity.On(t, "written", func(s *[]byte, e []byte) { *s = e })
	b := &blobs{Type: t}
	b.put = entity.Handle(t, "put", func(x *entity.Context[[]byte], p []byte) ([]byte, error) {
		written.Record(x, p)
		return nil, nil
	})
	b.get = entity.Handle(t, "get", func(x *entity.Context[[]byte], p []byte) ([]byte, error) { return x.State(), nil })
	return b
}

// BenchmarkDurable asks replicated entities (replicas 2, min_acks 1) in a group of three regions in one process, every
// node asking for entities everywhere. It reports commits of the journals beside the rate: without them the
// figure is void. Records per write say how much a shard gathers into one.
func BenchmarkDurable(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3 * runtime.NumCPU()))
	for _, shards := range []int{1, 16, 64} {
		t := defineBlobs("blob", entity.Shards(shards), entity.Replicate(2, 1, 0))
		g := newGroup(b, 3, t)
		g.placeAll("blob")
		for _, callers := range []int{1, 64, 1024, 4096} {
			b.Run(fmt.Sprintf("shards=%d/callers=%d", shards, callers), func(b *testing.B) {
				measure(b, g, callers, func(ctx context.Context, i, k int) error {
					_, err := t.put.Ask(ctx, g.nodes[i%3].region, entity.ID(fmt.Sprintf("e%d", (i*7919+k)%10_000)), payload)
					return err
				})
			})
		}
	}
}

// BenchmarkVolatile asks entities in memory: on the owner itself, and from another node.
func BenchmarkVolatile(b *testing.B) {
	t := defineBlobs("blob", entity.Shards(16), entity.Volatile())
	g := newGroup(b, 2, t)
	g.placeAll("blob")
	var here, there []entity.ID
	for i := range 10_000 {
		id := entity.ID(fmt.Sprintf("e%d", i))
		if g.placement(g.shardOf("blob", id)).Node == g.nodes[0].id {
			here = append(here, id)
		} else {
			there = append(there, id)
		}
	}
	for name, ids := range map[string][]entity.ID{"local": here, "remote": there} {
		for _, callers := range []int{1, 16, 256, 4096} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				measure(b, g, callers, func(ctx context.Context, i, k int) error {
					_, err := t.get.Ask(ctx, g.nodes[0].region, ids[(i*7919+k)%len(ids)], payload)
					return err
				})
			})
		}
	}
}

var payload = make([]byte, 128)

// measure runs b.N asks by many callers and reports rate, latencies and journal commits.
func measure(b *testing.B, g *group, callers int, ask func(ctx context.Context, caller, k int) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	took := make([][]time.Duration, callers)
	before, cpu := g.journals(), processTime(b)
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range callers {
		all.Go(func() {
			for k := 0; left.Add(-1) >= 0; k++ {
				began := time.Now()
				if err := ask(ctx, i, k); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	flat := slices.Concat(took...)
	slices.Sort(flat)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "asks/s")
	b.ReportMetric(float64(flat[len(flat)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(flat[len(flat)*99/100].Microseconds()), "p99-µs")
	after := g.journals()
	b.ReportMetric(float64(after.Commits-before.Commits), "commits")
	if writes := after.Writes - before.Writes; writes > 0 {
		b.ReportMetric(float64(after.Records-before.Records)/float64(writes), "records/write")
		b.ReportMetric(float64(after.DiskBytes-before.DiskBytes)/float64(after.Records-before.Records), "disk-B/record")
	}
	b.ReportMetric(float64((processTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processTime is what the process, callers and all three nodes, has used of the processors: a figure that holds on a
// machine that others use too.
func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// journals adds up what the journals have counted.
func (g *group) journals() (sum journal.Stats) {
	for _, node := range g.nodes {
		s := node.journal.Stats()
		sum.Commits += s.Commits
		sum.Writes += s.Writes
		sum.Records += s.Records
		sum.DiskBytes += s.DiskBytes
	}
	return sum
}

// BenchmarkOneWay sends commands that nobody answers to another node; what its lanes still hold at the end has not run.
func BenchmarkOneWay(b *testing.B) {
	t := defineBlobs("blob", entity.Shards(16), entity.Volatile())
	g := newGroup(b, 2, t)
	g.placeAll("blob")
	var there []entity.ID
	for i := 0; len(there) < 1024; i++ {
		id := entity.ID(fmt.Sprintf("e%d", i))
		if g.placement(g.shardOf("blob", id)).Node == g.nodes[1].id {
			there = append(there, id)
		}
	}
	ctx := context.Background()
	used := processTime(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := t.put.OneWay(ctx, g.nodes[0].region, there[i%len(there)], payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((processTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
}
