package linkfault

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/cmd/hearth-lab/eval"
)

const start = int64(1_600_000_200) // a multiple of 15 minutes

// sheet is a CSV file in memory.
type sheet struct {
	head []string
	rows [][]string
}

func (s *sheet) col(name string) int { return slices.Index(s.head, name) }

// without returns a copy lacking some columns.
func (s *sheet) without(names ...string) *sheet {
	out := &sheet{}
	for i, h := range s.head {
		if !slices.Contains(names, h) {
			out.head = append(out.head, s.head[i])
		}
	}
	for _, r := range s.rows {
		var row []string
		for i, h := range s.head {
			if !slices.Contains(names, h) {
				row = append(row, r[i])
			}
		}
		out.rows = append(out.rows, row)
	}
	return out
}

func (s *sheet) filter(keep func(row []string) bool) *sheet {
	out := &sheet{head: s.head}
	for _, r := range s.rows {
		if keep(r) {
			out.rows = append(out.rows, slices.Clone(r))
		}
	}
	return out
}

func (s *sheet) ts(row []string) int64 {
	v, _ := strconv.ParseInt(row[s.col("ts")], 10, 64)
	return v
}

// write writes the sheet, gzipped where the name says so, and returns the path.
func (s *sheet) write(t *testing.T, path string) string {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(append([][]string{s.head}, s.rows...)); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	if strings.HasSuffix(path, ".gz") {
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		g.Write(data)
		g.Close()
		data = z.Bytes()
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// devices makes a site of devices whose delivery ratio sinks for half a day before each fault. Labels follow the
// rule of the data set.
func devices(n, days int, seed uint64) *sheet {
	s := &sheet{head: []string{"site", "device", "ts", "temperature", "tx", "fail", "rssi_best", "pdr", "lost", "fault", "healthy", "fault_24h", "y6", "c6", "y24", "c24"}}
	for d := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(d)))
		steps := days * 96
		var faults []int
		for at := rng.IntN(400); at < steps; at += 96 + rng.IntN(96*(2+d%4)) {
			faults = append(faults, at)
		}
		silent := -1
		for i := range steps {
			bad, near := false, 1000
			for _, f := range faults {
				if i >= f && i < f+3 {
					bad = true
				}
				if f >= i {
					near = min(near, f-i)
				}
			}
			if d%3 == 0 && bad && i%2 == 0 {
				silent = i + 7 // this one falls silent when it fails
			}
			if i < silent {
				continue
			}
			pdr := 0.97 - 0.03*rng.Float64()
			if near < 48 {
				pdr -= 0.25 * float64(48-near) / 48 * rng.Float64()
			}
			if bad {
				pdr = 0.2
			}
			tx := 100 + rng.IntN(50)
			row := []string{
				"lab", fmt.Sprintf("lab_%02d", d), fmt.Sprint(start + int64(i)*bin), fmt.Sprint(20 + rng.IntN(5)), fmt.Sprint(tx),
				fmt.Sprint(int(float64(tx) * (1 - pdr))), fmt.Sprint(-60 - rng.IntN(20)), fmt.Sprintf("%.3f", pdr), "0",
			}
			if rng.Float64() < 0.03 {
				row[7] = "" // a report without neighbours
			}
			s.rows = append(s.rows, append(row, "", "", "", "", "", "", ""))
		}
	}
	s.label()
	return s
}

// label fills the label columns by reading the file as the tool does without them.
func (s *sheet) label() {
	set := map[string]*device{}
	for _, r := range s.rows {
		d := set[r[1]]
		if d == nil {
			d = &device{site: r[0], name: r[1]}
			set[r[1]] = d
		}
		p := report{ts: s.ts(r)}
		for c := range p.v {
			p.v[c] = float32(nan())
		}
		for c, name := range columnNames {
			if i := s.col(name); i >= 0 && r[i] != "" {
				v, _ := strconv.ParseFloat(r[i], 32)
				p.v[c] = float32(v)
			}
		}
		d.reports = append(d.reports, p)
	}
	at := map[string]int{}
	for _, d := range set {
		d.derive(nil)
	}
	for _, r := range s.rows {
		d := set[r[1]]
		p := &d.reports[at[r[1]]]
		at[r[1]]++
		for name, v := range map[string]bool{"fault": p.fault, "healthy": p.calm, "fault_24h": p.recent} {
			r[s.col(name)] = fmt.Sprint(int(bit(v)))
		}
		for _, h := range []int64{6, 24} {
			y, ok := d.label(nil, p.ts, h*hour, d.end())
			r[s.col(fmt.Sprint("y", h))], r[s.col(fmt.Sprint("c", h))] = fmt.Sprint(int(bit(y))), fmt.Sprint(int(bit(ok)))
		}
	}
}

func nan() float64 { var zero float64; return zero / zero }

// predicted runs the tool and returns p by device and ts.
func predicted(t *testing.T, args ...string) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "preds.csv")
	if err := Run(t.Context(), append(args, "--out", out)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"header": strings.Join(rows[0], ","), "rows": fmt.Sprint(len(rows) - 1)}
	for _, r := range rows[1:] {
		got[strings.Join(r[1:len(r)-1], " ")] = r[len(r)-1]
	}
	return got
}

// lab writes a training folder and returns it with the sheet of devices to predict.
func lab(t *testing.T) (dir string, fresh *sheet) {
	t.Helper()
	dir = t.TempDir()
	devices(8, 20, 1).write(t, filepath.Join(dir, "device_15min.csv.gz"))
	fresh = devices(3, 20, 2)
	for _, r := range fresh.rows {
		r[1] = "new_" + r[1]
	}
	return dir, fresh
}

func TestPredictionsDoNotChangeWhenTheFileEndsEarlier(t *testing.T) {
	dir, fresh := lab(t)
	for _, task := range []string{"onset24", "fault6"} {
		whole := predicted(t, "--task", task, "--train", dir, "--test", fresh.write(t, filepath.Join(t.TempDir(), "whole.csv")))
		for _, days := range []int64{5, 16} {
			end := start + days*day + 3*bin
			part := fresh.filter(func(r []string) bool { return fresh.ts(r) <= end })
			cut := predicted(t, "--task", task, "--train", dir, "--test", part.write(t, filepath.Join(t.TempDir(), "part.csv")))
			if len(cut) < 300 || len(cut) >= len(whole) {
				t.Fatalf("%d predictions of %d", len(cut), len(whole))
			}
			for k, p := range cut {
				if k != "rows" && whole[k] != p {
					t.Fatalf("%s at %s: %s with the whole file, %s when it ends on day %d", task, k, whole[k], p, days)
				}
			}
		}
	}
}

func TestAnswersInTheFileAreNotReadAndOrderDoesNotMatter(t *testing.T) {
	dir, fresh := lab(t)
	want := predicted(t, "--train", dir, "--test", fresh.write(t, filepath.Join(t.TempDir(), "a.csv")))
	if want["header"] != "site,device,ts,p" || want["rows"] != fmt.Sprint(len(fresh.rows)) {
		t.Fatalf("%s, %s rows of %d", want["header"], want["rows"], len(fresh.rows))
	}
	lies := fresh.filter(func([]string) bool { return true })
	for _, r := range lies.rows {
		for _, c := range []string{"y6", "c6", "y24", "c24"} {
			r[lies.col(c)] = "1"
		}
	}
	mixed := fresh.without("y6", "c6", "y24", "c24")
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(mixed.rows), func(i, j int) { mixed.rows[i], mixed.rows[j] = mixed.rows[j], mixed.rows[i] })
	mixed.rows = append(mixed.rows, mixed.rows[:50]...) // and some twice
	for name, s := range map[string]*sheet{"false answers": lies, "no answers, shuffled, some rows twice": mixed} {
		got := predicted(t, "--train", dir, "--test", s.write(t, filepath.Join(t.TempDir(), "b.csv.gz")))
		for k, p := range want {
			if k != "rows" && got[k] != p {
				t.Fatalf("%s: at %s %s, want %s", name, k, got[k], p)
			}
		}
	}
}

func TestTheModelFindsWhatComesBeforeFaults(t *testing.T) {
	dir, fresh := lab(t)
	got := predicted(t, "--task", "fault24", "--train", dir, "--test", fresh.without("fault", "healthy", "fault_24h", "y24", "c24", "y6", "c6").write(t, filepath.Join(t.TempDir(), "t.csv")))
	var ps []eval.Prediction
	for _, r := range fresh.rows {
		if r[fresh.col("healthy")] != "1" || r[fresh.col("c24")] != "1" || fresh.ts(r) < start+14*day {
			continue
		}
		p, err := strconv.ParseFloat(got[r[1]+" "+r[2]], 64)
		if err != nil || p < 0 || p > 1 {
			t.Fatalf("p of %s at %s is %q", r[1], r[2], got[r[1]+" "+r[2]])
		}
		ps = append(ps, eval.Prediction{Group: r[1], P: p, Y: r[fresh.col("y24")] == "1"})
	}
	q := eval.Judge(ps)
	rate := float64(q.Positive) / float64(q.N)
	if q.N < 300 || q.AUC < 0.75 || q.AP < 1.3*rate || q.Brier > rate*(1-rate) {
		t.Fatalf("%+v at a rate of %.3f", q, rate)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	dir, fresh := lab(t)
	small := fresh.filter(func(r []string) bool { return fresh.ts(r) < start+day })
	spoil := func(col, value string) *sheet {
		s := small.filter(func([]string) bool { return true })
		s.rows[3][s.col(col)] = value
		return s
	}
	ragged := small.filter(func([]string) bool { return true })
	ragged.rows[2] = ragged.rows[2][:5]
	for _, c := range []struct {
		name string
		s    *sheet
		want []string
	}{
		{"no device column", small.without("device"), []string{"test.csv:1", `"device"`}},
		{"no time", small.without("ts"), []string{"test.csv:1", `"ts"`}},
		{"nothing that tells a fault", small.without("pdr", "fault"), []string{"test.csv:1", `"pdr"`}},
		{"text for a number", spoil("pdr", "good"), []string{"test.csv:5", `"pdr"`, "good"}},
		{"a ratio in percent", spoil("pdr", "97"), []string{"test.csv:5", `"pdr"`, "97", "ratio"}},
		{"a time in milliseconds", spoil("ts", "1600000200000"), []string{"test.csv:5", `"ts"`, "seconds"}},
		{"an empty time", spoil("ts", ""), []string{"test.csv:5", `"ts"`, "empty"}},
		{"a short row", ragged, []string{"test.csv:4", "5 cells"}},
		{"a header alone", &sheet{head: small.head}, []string{"test.csv", "no rows"}},
		{"a column twice", &sheet{head: append(slices.Clone(small.head), "pdr"), rows: nil}, []string{"test.csv:1", `"pdr"`, "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.csv")
			var b bytes.Buffer
			fmt.Fprintln(&b, strings.Join(c.s.head, ","))
			for _, r := range c.s.rows {
				fmt.Fprintln(&b, strings.Join(r, ","))
			}
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			err := Run(t.Context(), []string{"--train", dir, "--test", path, "--out", filepath.Join(t.TempDir(), "p")})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestOddButHonestFilesWork(t *testing.T) {
	dir, fresh := lab(t)
	one := fresh.filter(func(r []string) bool { return r[1] == fresh.rows[0][1] && fresh.ts(r) < start+5*day })
	for _, r := range one.rows[10:20] {
		r[one.col("pdr")], r[one.col("temperature")] = "NaN", "nan"
	}
	if got := predicted(t, "--train", dir, "--test", one.write(t, filepath.Join(t.TempDir(), "t.csv"))); got["rows"] != fmt.Sprint(len(one.rows)) {
		t.Fatalf("%s rows of %d", got["rows"], len(one.rows))
	}
	few := one.without("temperature", "rssi_best", "lost", "tx", "fail", "healthy", "fault_24h")
	predicted(t, "--train", dir, "--test", few.write(t, filepath.Join(t.TempDir(), "t.csv")))
}

func TestTrainingOnOneClassIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := devices(2, 10, 1)
	for _, r := range s.rows {
		for _, c := range []string{"y6", "y24", "fault", "fault_24h"} {
			r[s.col(c)] = "0"
		}
		r[s.col("pdr")], r[s.col("c24")], r[s.col("healthy")] = "0.99", "1", "1"
	}
	path := s.write(t, filepath.Join(dir, "device_15min.csv"))
	err := Run(t.Context(), []string{"--train", dir, "--test", path, "--out", filepath.Join(dir, "p")})
	if err == nil || !strings.Contains(err.Error(), "device_15min.csv") || !strings.Contains(err.Error(), "the same") {
		t.Fatalf("err = %v", err)
	}
}

// radioLinks makes links whose delivery ratio shakes before it breaks down.
func radioLinks(sites []string, n int, seed uint64) *sheet {
	s := &sheet{head: []string{"site", "src", "dst", "ts", "rssi", "pdr", "tx"}}
	for _, site := range sites {
		for l := range n {
			rng := rand.New(rand.NewPCG(seed, uint64(l)))
			fault := 200 + rng.IntN(400)
			for i := range 1000 {
				if i > fault+8 {
					fault = i + 200 + rng.IntN(600)
				}
				pdr := 0.99 - 0.02*rng.Float64()
				switch {
				case i >= fault:
					pdr = 0.3
				case i > fault-60:
					pdr -= 0.15 * rng.Float64()
				}
				s.rows = append(s.rows, []string{site, fmt.Sprint("src", l/3), fmt.Sprint(l), fmt.Sprint(start + int64(i)*bin + int64(l)), "-70", fmt.Sprintf("%.3f", pdr), "80"})
			}
		}
	}
	return s
}

func TestLinksOfANewSiteArePredictedFromTheirPastOnly(t *testing.T) {
	dir := t.TempDir()
	radioLinks([]string{"a", "b"}, 8, 1).write(t, filepath.Join(dir, "links.csv.gz"))
	fresh := radioLinks([]string{"c"}, 4, 9)
	args := []string{"--task", "link24", "--train", dir, "--test"}
	whole := predicted(t, append(args, fresh.without("site").write(t, filepath.Join(t.TempDir(), "w.csv")))...)
	if whole["header"] != "src,dst,ts,p" || whole["rows"] != fmt.Sprint(len(fresh.rows)) {
		t.Fatalf("%s, %s rows of %d", whole["header"], whole["rows"], len(fresh.rows))
	}
	end := start + 6*day
	part := fresh.filter(func(r []string) bool { return fresh.ts(r) <= end })
	for k, p := range predicted(t, append(args, part.without("site").write(t, filepath.Join(t.TempDir(), "p.csv")))...) {
		if k != "rows" && whole[k] != p {
			t.Fatalf("at %s %s, but %s when the file ends there", k, whole[k], p)
		}
	}
	var ps []eval.Prediction
	set, err := readLinks(fresh.write(t, filepath.Join(t.TempDir(), "f.csv")))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range set.links {
		for i, r := range l.reports {
			if y, ok := l.label(i, 1<<60); ok && l.healthy(i) {
				p, _ := strconv.ParseFloat(whole[fmt.Sprintf("%s %d", l.dst, r.ts)], 64)
				ps = append(ps, eval.Prediction{Group: l.dst, P: p, Y: y})
			}
		}
	}
	if q := eval.Judge(ps); q.N < 1000 || q.AUC < 0.75 {
		t.Fatalf("%+v", q)
	}
}
