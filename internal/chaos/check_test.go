package chaos_test

import (
	"strings"
	"testing"

	"muster/internal/chaos"
)

// A checker that cannot find a lie proves nothing, so each kind is planted here once.
func TestTheCheckerFindsEachLie(t *testing.T) {
	truth := func() ([]chaos.Entry, map[string][]string) {
		return []chaos.Entry{
			{Book: "b", ID: "a1", Client: 1, Fate: chaos.Confirmed, Place: 1},
			{Book: "b", ID: "a2", Client: 1, Fate: chaos.Uncertain},
			{Book: "b", ID: "x1", Client: 2, Fate: chaos.Absent},
			{Book: "b", ID: "a3", Client: 1, Fate: chaos.Confirmed, Place: 2},
		}, map[string][]string{"b": {"a1", "a3"}}
	}
	if lies := chaos.Check(truth()); len(lies) > 0 {
		t.Fatalf("the truth is called a lie: %q", lies)
	}
	for want, plant := range map[string]func([]chaos.Entry, map[string][]string){
		"is lost":            func(_ []chaos.Entry, b map[string][]string) { b["b"] = []string{"a1"} },
		"took effect 2 time": func(_ []chaos.Entry, b map[string][]string) { b["b"] = []string{"a1", "a3", "a2", "a2"} },
		"and is at":          func(_ []chaos.Entry, b map[string][]string) { b["b"] = []string{"a3", "a1"} },
		"called not applied": func(_ []chaos.Entry, b map[string][]string) { b["b"] = []string{"a1", "a3", "x1"} },
		"nobody entered":     func(_ []chaos.Entry, b map[string][]string) { b["b"] = []string{"a1", "a3", "z9"} },
		"before an older": func(e []chaos.Entry, b map[string][]string) {
			b["b"] = []string{"a3", "a1"}
			e[0].Place, e[3].Place = 2, 1
		},
	} {
		entries, books := truth()
		plant(entries, books)
		if got := strings.Join(chaos.Check(entries, books), "\n"); !strings.Contains(got, want) {
			t.Errorf("planted %q, found %q", want, got)
		}
	}
}
