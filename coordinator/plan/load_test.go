package plan_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/shard"
)

// Whatever shards are asked, and however that wavers: plans for it move no copy and keep the numbers of primaries as even as they
// were, they come to an end after few hand-overs, and then nothing moves any more though every minute brings other numbers. No
// node is asked much more than before; where shards are many and none outweighs a node, all are asked about the same.
func TestLoadLevelsAndRests(t *testing.T) {
	for seed := range uint64(60) {
		dice := rand.New(rand.NewPCG(seed, 9))
		w := settled(200, 10)
		mean := make([]float64, 200)
		for i := range mean {
			mean[i] = dice.ExpFloat64() * 100
			if seed%3 == 0 && i < 20 {
				mean[i] *= 5 // hot ones
			}
		}
		var planner plan.Planner
		_, before := w.tallyLoose()
		worst, total, quiet := asked(w, mean), 0, 0
		for minute := 0; minute < 60; minute++ {
			planner.Plan(w.view, wavering(mean, dice))
			moves := planner.Moves()
			for _, m := range moves {
				if m.Kind != plan.LeadMove || m.Reason != plan.LoadUneven {
					t.Fatalf("seed %d: %s", seed, m)
				}
			}
			if err := proper(w, moves); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			w.carry(moves)
			if total += len(moves); len(moves) > 0 {
				quiet = 0
			} else {
				quiet++
			}
		}
		_, after := w.tallyLoose()
		if skew(after) > skew(before) {
			t.Errorf("seed %d: primaries were uneven by %.2f and are by %.2f", seed, skew(before), skew(after))
		}
		if worst > 1.4 && total == 0 {
			t.Errorf("seed %d: a node is asked %.2f of the mean and nothing moves", seed, worst)
		}
		t.Logf("seed %d: from %.2f to %.2f with %d hand-overs", seed, worst, asked(w, mean), total)
		if quiet < 40 || total > 120 {
			t.Errorf("seed %d: %d hand-overs, and none in the last %d minutes of 60", seed, total, quiet)
		}
		if now := asked(w, mean); now > worst+0.05 || now > 1.45 {
			t.Errorf("seed %d: the most loaded node was asked %.2f of the mean, and is asked %.2f", seed, worst, now)
		}
	}
}

// wavering is what a minute brings: each load a tenth off, as smoothed ones are.
func wavering(mean []float64, dice *rand.Rand) plan.Loads {
	list := make([]plan.Load, len(mean))
	for i, m := range mean {
		list[i] = plan.Load{Messages: m * (0.9 + 0.2*dice.Float64()), Bytes: 100 * m * (0.9 + 0.2*dice.Float64())}
	}
	return plan.Loads{"t": list}
}

// asked is the weight of the most loaded node, half numbers and half messages, over the mean.
func asked(w *town, mean []float64) float64 {
	sum, most := 0.0, 0.0
	for _, m := range mean {
		sum += m
	}
	by := map[shard.NodeID]float64{}
	for i, p := range w.view.Types["t"].Placements {
		by[p.Node] += 0.5 + 0.5*mean[i]*float64(len(mean))/sum
		most = max(most, by[p.Node])
	}
	return most * float64(len(by)) / float64(len(mean))
}

// What a primary counts becomes a load: a rate over time, smoothed; one that starts anew, elsewhere or after a restart, is no step
// back. Nothing is known of a type until most of its shards were measured twice by the process that leads them.
func TestCountsBecomeLoads(t *testing.T) {
	w := settled(20, 5)
	d := plan.NewDriver()
	tell := func(now time.Duration, messages uint64) {
		for _, p := range w.view.Types["t"].Placements {
			d.Observe(now, w.view, p.Session, []plan.Sample{{Shard: p.Shard, Messages: messages, Bytes: 10 * messages, Records: 7}})
			d.Observe(now, w.view, p.Session+1, []plan.Sample{{Shard: p.Shard, Messages: 1 << 40}}) // another's word
		}
	}
	tell(0, 1000)
	if loads := d.Measured(); len(loads) > 0 {
		t.Errorf("after one sample: %v", loads)
	}
	tell(10*time.Second, 2000)
	if l := d.Measured()["t"][3]; l.Messages != 100 || l.Bytes != 1000 || l.Stored != 7 {
		t.Errorf("after two: %+v", l)
	}
	tell(70*time.Second, 2000) // nothing for a half-life
	if l := d.Measured()["t"][3]; l.Messages < 49.9 || l.Messages > 50.1 {
		t.Errorf("after a half-life of silence: %+v", l)
	}
	tell(80*time.Second, 5) // the process began anew
	if l := d.Measured()["t"][3]; l.Messages < 49.9 || l.Messages > 50.1 {
		t.Errorf("after a restart: %+v", l)
	}
}
