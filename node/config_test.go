package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// Every fault is named at once, so that an operator fixes a configuration in one go.
func TestValidateReportsEverything(t *testing.T) {
	type S struct{}
	one, two := entity.Define[S]("account"), entity.Define[S]("account")
	err := node.Config{
		ID: "1n", Addr: "nowhere", Bind: "x", Seeds: []string{"y", "y"}, Voters: 2, RequiredQuorum: -1, Zone: "Z!", Roles: []string{""},
		Hosts: entity.Types(one, two),
	}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"node id \"1n\"", "address \"nowhere\"", "bind \"x\"", "seed \"y\"", "voters = 2", "required_quorum = -1",
		"seed y is named twice", "zone: name \"Z!\"", "role: name \"\"", "account is listed twice", "dir is empty",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %s:\n%v", want, err)
		}
	}
	if err := (node.Config{ID: "n1", Dir: "d"}).Validate(); err != nil {
		t.Errorf("the least configuration: %v", err)
	}
}

// What a node acts on by itself is bounded, wherever the program set it: a group could wait for a slip of the pen for a year.
func TestValidateBoundsLengths(t *testing.T) {
	for want, set := range map[string]func(*node.Tuning){
		"lease = 8760h0m0s, must be 10ms to 1h0m0s":                     func(s *node.Tuning) { s.Times.Lease = 8760 * time.Hour },
		"lease = -1s, must be":                                          func(s *node.Tuning) { s.Times.Lease = -time.Second },
		"autonomy = 25h0m0s, must be above 0 and at most 24h0m0s":       func(s *node.Tuning) { s.Times.Autonomy = 25 * time.Hour },
		"autonomy = 26h0m0s, must be above 0 and at most 24h0m0s":       func(s *node.Tuning) { s.Region.Autonomy = 26 * time.Hour },
		"renew = 2s: it must be at most half of lease = 3s, or one los": func(s *node.Tuning) { s.Times.Lease, s.Times.Renew = 3*time.Second, 2*time.Second },
	} {
		c := node.Config{ID: "n1", Dir: "d"}
		set(&c.Tuning)
		if err := c.Validate(); shard.CodeOf(err) != shard.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "muster.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	c, err := node.LoadConfig(write(t, `
id = "n1"
addr = "10.0.0.1:7420"
dir = "/var/lib/muster"
seeds = ["10.0.0.1:7420", "10.0.0.2:7420", "10.0.0.3:7420"]
voters = 3
zone = "a"
roles = ["storage"]
required_quorum = 2
allow_plaintext = true
[times]
lease = "1500ms"
rebuild = "5m"
replace_voter = "1h"
catch_up = "2m"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "n1" || c.Tuning.Times.Lease != 1500*time.Millisecond || c.Tuning.Times.ReplaceVoter != time.Hour ||
		c.Tuning.Times.Rebuild != 5*time.Minute || c.Tuning.Times.CatchUp != 2*time.Minute || len(c.Seeds) != 3 || c.RequiredQuorum != 2 || c.Voters != 3 {
		t.Errorf("got %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// A fault names the file, the line and the key; several unknown keys come together.
func TestLoadConfigIsStrict(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"id = \"n1\"\nvoter = 3\n\n[tsl]\nx = 1", "muster.toml:2: unknown key voter\n"},
		{"id = \"n1\"\nvoter = 3\n\n[tsl]\nx = 1", "muster.toml:4: unknown key tsl"},
		{"id = \"n1\"\nid = \"n2\"", "muster.toml:2:"},
		{"\nvoters = \"three\"", "muster.toml:2: key voters: a string stands where a whole number belongs"},
		{"allow_plaintext = 1", "muster.toml:1: key allow_plaintext: an integer stands where true or false belongs"},
		{"seeds = \"a:1\"", "muster.toml:1: key seeds: a string stands where a list of texts"},
		{"seeds = [1]", "muster.toml:1: key seeds: an integer stands where text in quotes belongs"},
		{"id = n1", "text stands in quotes"},
		{"voters = 9223372036854775808", "muster.toml:1:"},
		{"[times]\nlease = 2", "muster.toml:2: key times.lease: an integer stands where a time in quotes, as \"2s\", belongs"},
		{"[times]\nlease = \"2 parsecs\"", "muster.toml:2: key times.lease"},
		{"[times]\nlease = \"0s\"", "muster.toml:2: key times.lease"},
		{"[tls]\ncert = \"a\"", "cert, key and ca are all needed"},
		{"id = ", "muster.toml:1:"},
	} {
		_, err := node.LoadConfig(write(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %s", c.text, err, c.want)
		}
	}
	if _, err := node.LoadConfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file was read")
	}
}
