package lint

import (
	"slices"
	"strconv"
	"strings"
)

// allowed is who may import whom inside the module: what is not listed is forbidden. Tests import anything. It is the
// table of docs/architecture.md; change both in one commit, and say why.
var allowed = map[string][]string{
	"shard":            {},
	"barrier":          {},
	"fsm":              {"barrier", "shard"},
	"coordinator/plan": {"fsm", "shard"},
	"region/route":     {"shard"},
	"replication":      {"shard"},
	"entity":           {"shard"},
	"transport/wire":   {},
	"transport":        {"transport/wire", "shard"},
	"journal":          {"replication", "shard"},
	"coordinator":      {"coordinator/plan", "fsm", "barrier", "transport", "transport/wire", "shard", "internal/boottime"},
	"region":           {"region/route", "replication", "entity", "journal", "transport", "transport/wire", "shard", "internal/boottime"},
	"client":           {"transport", "transport/wire", "entity", "region/route", "fsm", "barrier", "shard"},
	"node": {
		"coordinator", "region", "region/route", "replication", "barrier", "journal", "transport", "transport/wire", "entity", "fsm", "shard",
	},
	"collections": {"entity", "shard"},
	"cmd/node": {
		"node", "client", "collections", "entity", "journal", "fsm", "barrier", "coordinator/plan", "shard", "internal/load",
	},
}

// examples may import what users do.
var forUsers = []string{"node", "client", "collections", "entity", "shard"}

// only lists outside packages that few may import.
var only = map[string][]string{
	"github.com/hashicorp/raft":           {"coordinator", "transport"},
	"github.com/hashicorp/raft-boltdb/v2": {"coordinator"},
	"go.etcd.io/bbolt":                    {"journal", "coordinator"},
	"github.com/spf13/cobra":              {"cmd/node"},
	"github.com/prometheus/client_golang": {"node", "cmd/node"},
	"github.com/hashicorp/memberlist":     {},
	"github.com/soheilhy/cmux":            {},
	"github.com/hashicorp/raft-wal":       {},
	"google.golang.org/grpc":              {"transport", "transport/wire", "coordinator", "region", "client", "node"},
	"google.golang.org/protobuf":          {"transport", "transport/wire", "coordinator", "region", "client", "node", "entity"},
}

// layers checks every import that is not a test's. Below internal everything may be imported.
func (t *Tree) layers(p *Package) {
	if strings.HasPrefix(p.Path, "internal/") || p.Path == "tools" || strings.HasPrefix(p.Path, "tools/") {
		return
	}
	may, known := allowed[p.Path]
	if strings.HasPrefix(p.Path, "examples/") {
		may, known = forUsers, true
	}
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		if !known {
			t.report(f, f.Package, "layers", "package %s is not in the table of layers", p.Path)
			return
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue
			}
			inside, ours := strings.CutPrefix(name, Module+"/")
			switch {
			case ours && !slices.Contains(may, inside):
				t.report(f, spec.Pos(), "layers", "%s may not import %s", p.Path, inside)
			case !ours && !outside(p.Path, name):
				t.report(f, spec.Pos(), "layers", "%s may not import %s", p.Path, name)
			}
		}
	}
	t.boltInOneFile(p)
}

// outside reports whether the package may import another module's.
func outside(p, name string) bool {
	longest, may := "", []string(nil)
	for prefix, users := range only {
		if (name == prefix || strings.HasPrefix(name, prefix+"/")) && len(prefix) > len(longest) {
			longest, may = prefix, users
		}
	}
	return longest == "" || slices.Contains(may, p)
}

// boltInOneFile keeps Raft's log store replaceable: raft-boltdb is imported by one file alone.
func (t *Tree) boltInOneFile(p *Package) {
	seen := ""
	for _, f := range p.Files {
		for _, spec := range f.Imports {
			if f.Test || !strings.Contains(spec.Path.Value, "/raft-boltdb") {
				continue
			}
			if seen != "" {
				t.report(f, spec.Pos(), "layers", "raft-boltdb is imported by %s already, and one file is to hold it", seen)
			}
			seen = f.Path
		}
	}
}
