package chaos_test

import (
	"strings"
	"testing"
	"time"

	"muster/internal/chaos"
)

// A history in which everything is true: client 1 enters, 2 and 3 read.
func truth() ([]chaos.Entry, []chaos.Sight, map[string][]string) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	return []chaos.Entry{
			{Book: "b", ID: "a1", Client: 1, Fate: chaos.Confirmed, Place: 1, Began: at(1), Ended: at(2)},
			{Book: "b", ID: "a2", Client: 1, Fate: chaos.Uncertain, Began: at(3), Ended: at(4)},
			{Book: "b", ID: "x1", Client: 2, Fate: chaos.Absent, Began: at(3), Ended: at(4)},
			{Book: "b", ID: "a3", Client: 1, Fate: chaos.Confirmed, Place: 2, Began: at(5), Ended: at(8)},
		}, []chaos.Sight{
			{Book: "b", Via: "n1", Count: 1, Sum: chaos.Sum([]string{"a1"}), Began: at(1), Ended: at(7)}, // beside both
			{Book: "b", Via: "n2", Count: 2, Sum: chaos.Sum([]string{"a1", "a3"}), Began: at(6), Ended: at(7)},
			{Book: "b", Via: "n1", Count: 2, Sum: chaos.Sum([]string{"a1", "a3"}), Began: at(9), Ended: at(9)},
		}, map[string][]string{"b": {"a1", "a3"}}
}

// A checker that cannot find a lie proves nothing, so each kind is planted here once.
func TestTheCheckerFindsEachLie(t *testing.T) {
	if lies := chaos.Check(truth()); len(lies) > 0 {
		t.Fatalf("the truth is called a lie: %q", lies)
	}
	late := time.Unix(10, 0)
	for want, plant := range map[string]func([]chaos.Entry, []chaos.Sight, map[string][]string){
		"is lost": func(_ []chaos.Entry, _ []chaos.Sight, b map[string][]string) { b["b"] = []string{"a1"} },
		"took effect 2 time": func(_ []chaos.Entry, _ []chaos.Sight, b map[string][]string) {
			b["b"] = []string{"a1", "a3", "a2", "a2"}
		},
		"and is at":          func(_ []chaos.Entry, _ []chaos.Sight, b map[string][]string) { b["b"] = []string{"a3", "a1"} },
		"called not applied": func(_ []chaos.Entry, _ []chaos.Sight, b map[string][]string) { b["b"] = []string{"a1", "a3", "x1"} },
		"nobody entered":     func(_ []chaos.Entry, _ []chaos.Sight, b map[string][]string) { b["b"] = []string{"a1", "a3", "z9"} },
		"a3 in book b is at 1, although a1": func(e []chaos.Entry, s []chaos.Sight, b map[string][]string) {
			b["b"] = []string{"a3", "a1"}
			e[0].Place, e[3].Place = 2, 1
		},
		"not how the book begins": func(_ []chaos.Entry, s []chaos.Sight, _ map[string][]string) { s[1].Sum++ },
		"entries that are not":    func(_ []chaos.Entry, s []chaos.Sight, _ map[string][]string) { s[2].Count = 3 },
		"a read through n1 in book b is at 1, although a3": func(_ []chaos.Entry, s []chaos.Sight, _ map[string][]string) {
			s[0].Began, s[0].Ended, s[1].Ended, s[2].Ended = late, late, late, late
		},
		"a read through n1 in book b is at 1, although a read through n2": func(_ []chaos.Entry, s []chaos.Sight, _ map[string][]string) {
			s[0].Began, s[0].Ended = time.Unix(7, 500), late
		},
		"a2 in book b is at 3, although a read": func(e []chaos.Entry, s []chaos.Sight, b map[string][]string) {
			b["b"] = []string{"a1", "a3", "a2"} // read at 11, entered at 12: fine; entered before a reader saw three: fine; but
			e[1].Began = time.Unix(12, 0)
			s[2].Count, s[2].Sum, s[2].Began, s[2].Ended = 3, chaos.Sum(b["b"]), time.Unix(11, 0), time.Unix(11, 0) // seen before it was asked
		},
	} {
		entries, sights, books := truth()
		plant(entries, sights, books)
		if got := strings.Join(chaos.Check(entries, sights, books), "\n"); !strings.Contains(got, want) {
			t.Errorf("planted %q, found %q", want, got)
		}
	}
}
