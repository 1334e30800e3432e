package lint

import (
	"go/token"
	"regexp"
	"strconv"
)

var metrics = regexp.MustCompile(`(?m)github\.com/hashicorp/go-metrics v(\d+)\.(\d+)`)
var raft = regexp.MustCompile(`(?m)github\.com/hashicorp/raft (v\S+)`)

// modules keeps what would break quietly: from v0.7.0 on, go-metrics lacks the package that raft-boltdb imports, and raft
// from v1.8.0 on needs that version.
func (t *Tree) modules() {
	at := token.Position{Filename: "go.mod"}
	if m := metrics.FindStringSubmatch(t.Mod); m != nil {
		major, _ := strconv.Atoi(m[1])
		minor, _ := strconv.Atoi(m[2])
		if major > 0 || minor >= 7 {
			t.findings = append(t.findings, Finding{at, "modules", "go-metrics must stay below v0.7.0"})
		}
	}
	if m := raft.FindStringSubmatch(t.Mod); m != nil && m[1] != "v1.7.3" {
		t.findings = append(t.findings, Finding{at, "modules", "raft is pinned to v1.7.3, not " + m[1]})
	}
}
