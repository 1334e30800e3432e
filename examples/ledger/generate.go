package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// What the built-in file was made with.
const (
	defaultRows     = 30_000
	defaultAccounts = 800
	defaultSeed     = 1
)

// generate writes a file of transactions: the same flags, the same bytes.
func generate(_ context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	rows := f.Int("rows", defaultRows, "transactions")
	accounts := f.Int("accounts", defaultAccounts, "accounts")
	seed := f.Uint64("seed", defaultSeed, "another seed, another file")
	out := f.String("out", "", "file to write, compressed when it ends in .gz; empty: standard output")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	if *rows < 1 || *rows > maxRows || *accounts < 1 || *accounts > *rows {
		return misuse{fmt.Errorf("--rows %d --accounts %d: rows must be 1 to %d, accounts 1 to rows", *rows, *accounts, maxRows)}
	}
	if *out == "" {
		return newForger(*seed, *accounts).write(stdout, *rows)
	}
	file, err := os.OpenFile(*out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return misuse{err}
	}
	if !strings.HasSuffix(*out, ".gz") {
		return errors.Join(newForger(*seed, *accounts).write(file, *rows), file.Close())
	}
	z, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	if err != nil {
		return err
	}
	return errors.Join(newForger(*seed, *accounts).write(z, *rows), z.Close(), file.Close())
}

// forger makes transactions up, day by day.
type forger struct {
	random   *rand.Rand
	accounts []int64
	balances []int64 // hundredths
	ids      map[int64]bool
	highest  int64 // id; far above the number of rows
}

func newForger(seed uint64, accounts int) *forger {
	f := &forger{random: rand.New(rand.NewPCG(seed, 20_240_229)), ids: map[int64]bool{}}
	id := int64(0)
	for range accounts {
		id += 1 + f.random.Int64N(15)
		f.accounts = append(f.accounts, id)
	}
	f.balances = make([]int64, accounts)
	return f
}

func (f *forger) write(w io.Writer, rows int) error {
	f.highest = 10 * int64(rows)
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "\"%s\"\n", strings.Join(columns, "\";\""))
	day := time.Date(1993, 1, 1, 0, 0, 0, 0, time.UTC)
	perDay := max(1, rows/450)
	for n := range rows {
		if n > 0 && n%perDay == 0 {
			day = day.AddDate(0, 0, 1)
		}
		f.row(b, day)
	}
	return b.Flush()
}

// kinds of transactions, as frequent as their number here.
var kinds = []struct {
	weight                  int
	kind, operation, symbol string
	most                    int64 // hundredths
	round                   int64
	bank                    bool
}{
	{20, "PRIJEM", "VKLAD", "", 5_000_000, 10_000, false},
	{19, "PRIJEM", "", "UROK", 30_000, 10, false},
	{7, "PRIJEM", "PREVOD Z UCTU", "", 3_000_000, 100, true},
	{26, "VYDAJ", "VYBER", "", 2_500_000, 10_000, false},
	{11, "VYDAJ", "VYBER", "SLUZBY", 3_000, 10, false},
	{11, "VYDAJ", "PREVOD NA UCET", "SIPO", 900_000, 1, true},
	{4, "VYDAJ", "PREVOD NA UCET", " ", 1_200_000, 1, true},
	{2, "VYBER", "VYBER", "", 1_500_000, 10_000, false},
}

func (f *forger) row(w io.Writer, day time.Time) {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	k := kinds[0]
	for pick := f.random.IntN(total); pick >= 0; {
		for _, k = range kinds {
			if pick -= k.weight; pick < 0 {
				break
			}
		}
	}
	account := f.random.IntN(len(f.accounts))
	amount := (1 + f.random.Int64N(k.most/k.round)) * k.round
	f.balances[account] += signs[k.kind] * amount
	bank, other := "", ""
	if k.bank {
		bank = fmt.Sprintf("%q", string([]byte{byte('A' + f.random.IntN(26)), byte('A' + f.random.IntN(26))}))
		other = fmt.Sprintf("%d.00", 10_000_000+f.random.Int64N(89_999_999))
	}
	fmt.Fprintf(w, "%d;%d;%s;%q;%q;%s;%s;%q;%s;%s\n", f.id(), f.accounts[account], day.Format("060102"), k.kind, k.operation,
		money(amount), money(f.balances[account]), k.symbol, bank, other)
}

// id is a number no other row has.
func (f *forger) id() int64 {
	for {
		if id := 1 + f.random.Int64N(f.highest); !f.ids[id] {
			f.ids[id] = true
			return id
		}
	}
}

// money writes hundredths as a decimal number.
func money(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%02d", sign, n/100, n%100)
}
