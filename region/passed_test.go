package region_test

import (
	"fmt"
	"testing"

	"muster/entity"
	"muster/shard"
)

// A handler that takes its time holds up nobody who asks the same node for other entities of the shard, however many there are. It
// is answered when it is done; when its shard gets another owner meanwhile it is asked anew if it has come to nothing for certain, and else nobody knows.
func TestASlowHandlerHoldsUpNobody(t *testing.T) {
	for _, from := range []string{"the owner", "another node"} {
		t.Run(from, func(t *testing.T) {
			c := define("counter", entityOptions(1, 1, 1)...)
			gate := make(chan struct{})
			inside := make(chan struct{}, 2)
			slow := slowly(c, inside, gate)
			g := newGroup(t, 2, c)
			id := one("counter")
			g.place(id, 0, 1)
			g.await(id, shard.Active)
			n := g.node(g.placement(id).Node)
			if from != "the owner" {
				n = g.nodes[1]
			}
			ctx := ctxFor(t)
			type answer struct {
				v   int64
				err error
			}
			begin := func() chan answer {
				done := make(chan answer, 1)
				go func() {
					v, err := slow.Ask(ctx, n.region, "slow", 5)
					done <- answer{v, err}
				}()
				<-inside
				return done
			}
			done := begin()
			askOthers(t, c, n)
			gate <- struct{}{}
			if a := <-done; a.err != nil || a.v != 5 {
				t.Errorf("the slow one: %d, %v; want 5", a.v, a.err)
			}

			done = begin()
			askOthers(t, c, n)
			g.recover(id)
			want := int64(5)
			select {
			case a := <-done:
				if a.err == nil || shard.As(a.err).Outcome != shard.Unknown {
					t.Errorf("the slow one, when the shard got another owner: %d, %v; want an unknown outcome", a.v, a.err)
				}
			case <-inside: // the owner before could say that it came to nothing
				gate <- struct{}{}
				if want = 10; (<-done).v != want {
					t.Errorf("the slow one, asked anew, has not added once")
				}
			}
			g.await(id, shard.Active)
			if v, err := c.get.Ask(ctx, n.region, "slow", struct{}{}); err != nil || v != want {
				t.Errorf("get: %d, %v; want %d", v, err, want)
			}
		})
	}
}

// slowly is a command that adds when something comes.
func slowly(c *counters, inside chan<- struct{}, gate <-chan struct{}) *entity.Command[counter, int64, int64] {
	event := entity.On(c.Type, "slowly", func(c *counter, e added) { c.Value += e.N })
	return entity.Handle(c.Type, "slow", func(x *entity.Context[counter], n int64) (int64, error) {
		inside <- struct{}{}
		select {
		case <-gate:
		case <-x.Context().Done():
		}
		event.Record(x, added{n})
		return x.State().Value, nil
	})
}

// askOthers asks for other entities, more often than a session may have open requests.
func askOthers(t *testing.T, c *counters, n *node) {
	for i := range 1500 {
		ctx, cancel := shortly(t.Context(), patience/3)
		if _, err := c.add.Ask(ctx, n.region, entity.ID(fmt.Sprint(i%50)), 1); err != nil {
			t.Fatalf("ask %d beside one that is slow: %v", i, err)
		}
		cancel()
	}
}
