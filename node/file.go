package node

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"muster/coordinator"
	"muster/shard"
)

// file is the configuration file. What only a program can say, above all Hosts, is not in it.
type file struct {
	ID             shard.NodeID `toml:"id"`
	Addr           string       `toml:"addr"`
	Bind           string       `toml:"bind"`
	Dir            string       `toml:"dir"`
	Seeds          []string     `toml:"seeds"`
	Voters         int          `toml:"voters"`
	Zone           string       `toml:"zone"`
	Roles          []string     `toml:"roles"`
	RequiredQuorum int          `toml:"required_quorum"`
	AllowPlaintext bool         `toml:"allow_plaintext"`
	TLS            *fileTLS     `toml:"tls"`
	Times          fileTimes    `toml:"times"`
}

type fileTLS struct {
	Cert string `toml:"cert"` // PEM files
	Key  string `toml:"key"`
	CA   string `toml:"ca"`
}

type fileTimes struct {
	Lease     string `toml:"lease"`
	Renew     string `toml:"renew"`
	Heartbeat string `toml:"heartbeat"`

	Rebuild      string `toml:"rebuild"`
	ReplaceVoter string `toml:"replace_voter"`
	CatchUp      string `toml:"catch_up"`
	Autonomy     string `toml:"autonomy"`
}

// maxConfigFile bounds the bytes of a configuration file.
const maxConfigFile = 1 << 20

// LoadConfig reads a node's configuration from a TOML file, for the program to complete and start:
//
//	id = "n1"
//	addr = "10.0.0.1:7420"
//	dir = "/var/lib/muster"
//	seeds = ["10.0.0.1:7420", "10.0.0.2:7420", "10.0.0.3:7420"]
//	tls = { cert = "n1.pem", key = "n1.key", ca = "ca.pem" }
//
// The other keys are bind, voters, zone, roles, required_quorum, allow_plaintext, the table tls (cert, key, ca: PEM files)
// and the table times (lease, renew, heartbeat, autonomy, rebuild, replace_voter, catch_up, like "2s"). A key that is unknown, doubled or of
// the wrong type is an error that names file, line and key; all of them are reported together when the parser can tell them apart. Values are
// checked by Start.
func LoadConfig(path string) (Config, error) {
	b, err := readLimited(path)
	if err != nil {
		return Config{}, shard.Invalid("configuration: %v", err)
	}
	var f file
	decoder := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return Config{}, explain(path, err)
	}
	c := Config{
		ID: f.ID, Addr: f.Addr, Bind: f.Bind, Dir: f.Dir, Seeds: f.Seeds, Voters: f.Voters, Zone: f.Zone, Roles: f.Roles,
		RequiredQuorum: f.RequiredQuorum, AllowPlaintext: f.AllowPlaintext,
	}
	if c.Tuning.Times, err = f.Times.parse(path, b); err != nil {
		return Config{}, err
	}
	if f.TLS != nil {
		if c.TLS, err = f.TLS.load(); err != nil {
			return Config{}, shard.Invalid("%s: tls: %v", path, err)
		}
	}
	return c, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(b) > maxConfigFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConfigFile)
	}
	return b, err
}

// explain turns the parser's error into one line for each fault.
func explain(path string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var faults []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, _ := e.Position()
			faults = append(faults, shard.Invalid("%s:%d: unknown key %s", path, row, dotted(e.Key())))
		}
		return errors.Join(faults...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, _ := bad.Position()
		if key := dotted(bad.Key()); key != "" {
			return shard.Invalid("%s:%d: key %s: %s", path, row, key, inOurWords(key, bad.Error()))
		}
		return shard.Invalid("%s:%d: %s", path, row, inOurWords("", bad.Error()))
	}
	return shard.Invalid("%s: %v", path, err)
}

// ofKinds is how the parser tells of a value of the wrong kind: in words of this program's source.
var ofKinds = regexp.MustCompile(`^toml: cannot decode TOML (\S+) into struct field \S+ of type (\S+)$`)

// inOurWords turns what the parser says of a value into what who wrote the file can act on.
func inOurWords(key, said string) string {
	kinds := ofKinds.FindStringSubmatch(said)
	switch {
	case kinds == nil && strings.Contains(said, "expected keyword"):
		return said + "; text stands in quotes"
	case kinds == nil:
		return said
	}
	belongs := map[string]string{"int": "a whole number", "bool": "true or false", "[]string": "a list of texts, [\"…\", \"…\"],"}[kinds[2]]
	if strings.HasPrefix(key, "times.") {
		belongs = "a time in quotes, as \"2s\","
	}
	article := "a "
	if strings.ContainsRune("aeiou", rune(kinds[1][0])) {
		article = "an "
	}
	return article + kinds[1] + " stands where " + cmp.Or(belongs, "text in quotes") + " belongs"
}

// parse reads the durations. The parser of the file takes them as strings: into numbers it would put a bare 2 as two
// nanoseconds.
func (t *fileTimes) parse(path string, source []byte) (times coordinator.Times, err error) {
	var faults []error
	for _, f := range []struct {
		key, text string
		to        *time.Duration
	}{
		{"lease", t.Lease, &times.Lease}, {"renew", t.Renew, &times.Renew}, {"heartbeat", t.Heartbeat, &times.Heartbeat}, {"autonomy", t.Autonomy, &times.Autonomy},
		{"rebuild", t.Rebuild, &times.Rebuild}, {"replace_voter", t.ReplaceVoter, &times.ReplaceVoter}, {"catch_up", t.CatchUp, &times.CatchUp},
	} {
		if f.text == "" {
			continue
		}
		d, err := time.ParseDuration(f.text)
		if err == nil && d <= 0 {
			err = fmt.Errorf("%s is not above 0", f.text)
		}
		if err != nil {
			faults = append(faults, shard.Invalid("%s:%d: key times.%s: %v", path, lineOf(source, f.key), f.key, err))
		}
		*f.to = d
	}
	return times, errors.Join(faults...)
}

// lineOf is the line that sets the key, of which there is only one.
func lineOf(source []byte, key string) (line int) {
	for text := range bytes.Lines(source) {
		line++
		name, _, assigns := bytes.Cut(text, []byte("="))
		if assigns && bytes.HasSuffix(bytes.TrimSpace(name), []byte(key)) {
			break
		}
	}
	return line
}

func dotted(key toml.Key) string {
	var b bytes.Buffer
	for i, part := range key {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}

// load reads the PEM files. A key that others may read is refused.
func (t *fileTLS) load() (*tls.Config, error) {
	if t.Cert == "" || t.Key == "" || t.CA == "" {
		return nil, errors.New("cert, key and ca are all needed")
	}
	info, err := os.Stat(t.Key)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %s has permissions %o: run chmod 600 on it", t.Key, info.Mode().Perm())
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	pem, err := readLimited(t.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca %s holds no certificate", t.CA)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots, MinVersion: tls.VersionTLS13}, nil
}
