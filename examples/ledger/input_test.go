package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

const head = `"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"` + "\n"

// A file is read as it is meant: signs from the types, amounts to the hundredth, line ends and marks of any system.
func TestRead(t *testing.T) {
	file := head +
		"695247;2378;930101;\"PRIJEM\";\"VKLAD\";700.00;700.00;\"\";;\n" +
		"2;2378;930102;\"VYDAJ\";\"PREVOD NA UCET\";0.29;699.7;\" \";\"AB\";41403269.00\n" +
		"3;9;930228;\"VYBER\";\"VYBER\";10000000.5;0;\"\";;\n" +
		"4;9;930228;PRIJEM;;12;0;;;\n"
	want := map[int64]Account{2378: {Balance: 69971, Postings: 2}, 9: {Balance: -999998850, Postings: 2}}
	for name, text := range map[string]string{
		"plain": file, "dos": strings.ReplaceAll(file, "\n", "\r\n"), "marked": "\ufeff" + file, "no last line end": strings.TrimSuffix(file, "\n"),
	} {
		got, err := read(strings.NewReader(text), "f")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for id, a := range sums(got) {
			if a != want[id] {
				t.Errorf("%s: account %d is %+v, want %+v", name, id, a, want[id])
			}
		}
	}
}

// Every fault of a file names its line, the others too, and is misuse: nothing was started.
func TestFaults(t *testing.T) {
	good := `1;2;930101;"PRIJEM";"VKLAD";1.00;1.00;"";;` + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "f: no transactions"},
		{"header only", head, "f: no transactions"},
		{"no header", good, "f:1: the header is"},
		{"other header", "a,b,c\n", "f:1: the header is"},
		{"few fields", head + good + "3;4;930101\n", "f:3: 3 fields instead of 10"},
		{"cut off", head + good + `2;2;930101;"PRIJEM";"VKL`, "f:3: "},
		{"many fields", head + strings.Replace(good, ";;", ";;;", 1), "f:2: 11 fields"},
		{"twice", head + good + good, "f:3: transaction 1 was in line 2 already"},
		{"account", head + strings.Replace(good, "1;2;", "1;x;", 1), `f:2: account_id "x" is not a positive number`},
		{"account 0", head + strings.Replace(good, "1;2;", "1;0;", 1), "f:2: account_id"},
		{"id", head + strings.Replace(good, "1;2;", "-1;2;", 1), "f:2: trans_id"},
		{"id sign", head + strings.Replace(good, "1;2;", "+1;2;", 1), "f:2: trans_id"},
		{"huge id", head + strings.Replace(good, "1;2;", "99999999999999999999;2;", 1), "f:2: trans_id"},
		{"date", head + strings.Replace(good, "930101", "930230", 1), `f:2: date "930230" is not YYMMDD`},
		{"type", head + strings.Replace(good, "PRIJEM", "prijem", 1), `f:2: type "prijem"`},
		{"amount words", head + strings.Replace(good, "1.00", "one", 1), `f:2: amount "one" is not a number`},
		{"amount negative", head + strings.Replace(good, "1.00", "-1.00", 1), "f:2: amount"},
		{"amount three decimals", head + strings.Replace(good, "1.00", "1.001", 1), "f:2: amount"},
		{"amount comma", head + strings.Replace(good, "1.00", "1,00", 1), "f:2: amount"},
		{"amount empty", head + strings.Replace(good, "1.00", "", 1), "f:2: amount"},
		{"amount point", head + strings.Replace(good, "1.00", "1.", 1), "f:2: amount"},
		{"amount huge", head + strings.Replace(good, "1.00", "99999999999999999999.00", 1), "f:2: amount"},
		{"quote", head + good + strings.Replace(good, `"VKLAD"`, `VK"LAD`, 1), "f:3: bare"},
		{"open quote", head + good + strings.Replace(good, `"VKLAD"`, `"VKLAD`, 1) + good, "f:3: "},
		{"zip", "\x1f\x8b\x00\x00", "f: "},
	} {
		_, err := read(strings.NewReader(c.text), "f")
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, new(misuse)) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	_, err := read(strings.NewReader(head+strings.Repeat("x\n", 100)), "f")
	if n := strings.Count(err.Error(), "\n"); n != maxFaults {
		t.Errorf("100 bad lines gave %d lines of report:\n%v", n+1, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(head + `1;2;930101;"PRIJEM";"VKLAD";1.00;1.00;"";;`))
	f.Fuzz(func(t *testing.T, b []byte) {
		postings, err := read(bytes.NewReader(b), "f")
		if err == nil && len(postings) == 0 {
			t.Error("an empty file passed")
		}
		for _, p := range postings {
			if p.account < 1 || p.amount > maxAmount || p.amount < -maxAmount {
				t.Errorf("posting %+v", p)
			}
		}
	})
}

// The built-in file is what generate makes with its default flags, so that anyone can make it again.
func TestGenerated(t *testing.T) {
	var out, errs bytes.Buffer
	if err := generate(t.Context(), nil, &out, &errs); err != nil {
		t.Fatal(err)
	}
	built, err := decompressAll(generated)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, out.Bytes()) {
		t.Error("the built-in file is not what `ledger generate` writes: run `ledger generate --out transactions.csv.gz`")
	}
	postings, err := read(&out, "generated")
	if err != nil || len(postings) != defaultRows || len(sums(postings)) < defaultAccounts*9/10 {
		t.Errorf("%d postings of %d accounts: %v", len(postings), len(sums(postings)), err)
	}
	other := t.TempDir() + "/t.csv.gz"
	if err := generate(t.Context(), []string{"--rows", "50", "--accounts", "3", "--seed", "9", "--out", other}, &out, &errs); err != nil {
		t.Fatal(err)
	}
	if postings, err := readFile(other); err != nil || len(postings) != 50 {
		t.Errorf("%d postings: %v", len(postings), err)
	}
	if err := generate(t.Context(), []string{"--out", other}, &out, &errs); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}
}

func decompressAll(b []byte) ([]byte, error) {
	r, err := decompress(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
