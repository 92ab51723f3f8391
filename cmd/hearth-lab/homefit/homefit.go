// Package homefit fits the hub's risk model to traces recorded in namespaced homes with injected faults, and takes
// the baseline of a calm hub from them.
//
// Each folder given is one home: trace.csv has ts_ms and one column per metric (the instance in braces), one row
// a sample, an empty cell being a missing value; faults.csv has start_ms, end_ms and kind, and onset_ms where a
// fault came on gradually.
package homefit

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/protocol/risk"
)

// Run is the tool: homefit [flags] FOLDER...
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("homefit", flag.ContinueOnError)
	out := fs.String("out", "namespaced-home", "writes OUT.model.cbor and OUT.baseline.cbor")
	version := fs.Uint64("version", 1, "version of the model")
	horizon := fs.Float64("horizon", 60, "seconds ahead that are predicted")
	fast := fs.Float64("fast", 5, "time constant of \"just now\" in seconds")
	slow := fs.Float64("slow", 300, "time constant of \"usual\" in seconds")
	unclear := fs.String("unclear", "dhcp-gone", "kinds of fault, by commas, that may or may not be felt: their time is neither learned from nor judged")
	trees := fs.Bool("trees", false, "add boosted trees to the logistic")
	test := fs.String("test", "", "folders, by commas, of homes that are only judged")
	verbose := fs.Bool("v", false, "print every false alarm with its reasons")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return fmt.Errorf("name at least two folders with trace.csv and faults.csv")
	}
	var histories predict.Histories
	kinds := map[string]int{}
	for _, dir := range fs.Args() {
		h, err := read(dir, strings.Split(*unclear, ","))
		if err != nil {
			return err
		}
		for _, f := range h.Faults {
			kinds[f.Kind]++
		}
		histories = append(histories, h)
	}
	plan := predict.Plan{
		Name: "namespaced-home", Version: *version, Horizon: *horizon, Input: predict.HubInput(*fast, *slow),
		About:  fmt.Sprintf("fitted on %d homes of network namespaces with faults injected on purpose; it knows no real home", len(histories)),
		Warmup: 60, Every: 1, Settle: 30, Folds: len(histories), MinAge: 20, Trees: *trees, Seed: 1,
	}
	t, err := predict.Train(ctx, histories, plan)
	if err != nil {
		return err
	}
	b, err := risk.Encode(t.Model)
	if err != nil {
		return err
	}
	state, err := baseline(t.Model, histories)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{*out + ".model.cbor": b, *out + ".baseline.cbor": state} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	q := t.Quality
	fmt.Printf("%d homes, %d moments, %d of them with a fault within %g s; faults: %v\n", t.Homes, q.N, q.Faults, *horizon, kinds)
	fmt.Printf("on homes left out: average precision %.3f, Brier %.4f (always saying the mean: %.4f), calibration error %.4f\n",
		q.AP, q.Brier, q.Observed*(1-q.Observed), q.ECE)
	a := alarms{say: func(format string, args ...any) {
		if *verbose {
			fmt.Printf(format+"\n", args...)
		}
	}}
	for i := range histories {
		others := slices.Concat(histories[:i:i], histories[i+1:])
		t, err := predict.Train(ctx, others, plan)
		if err != nil {
			return fmt.Errorf("without home %s: %w", histories[i].Home, err)
		}
		a.add(t.Model, histories[i])
	}
	fmt.Printf("on homes left out, with their thresholds: %s\n", &a)
	if *test != "" {
		b := alarms{say: a.say}
		for _, dir := range strings.Split(*test, ",") {
			h, err := read(dir, strings.Split(*unclear, ","))
			if err != nil {
				return err
			}
			b.add(t.Model, h)
		}
		fmt.Printf("on the test homes: %s\n", &b)
	}
	fmt.Printf("the model raises at %.2f and clears at %.2f\n", t.Model.Raise, t.Model.Clear)
	fmt.Printf("%s.model.cbor %d bytes, %s.baseline.cbor %d bytes\n", *out, len(b), *out, len(state))
	return nil
}

// baseline is what an observer knows after the longest calm stretch at the beginning of a home.
func baseline(m *risk.Model, homes predict.Histories) ([]byte, error) {
	var best []byte
	longest := 0.0
	for _, h := range homes {
		end := math.Inf(1)
		for _, f := range h.Faults {
			end = math.Min(end, f.Onset)
		}
		o := risk.NewObserver(m)
		first, last := math.NaN(), 0.0
		for s := range h.Samples {
			if s.At >= end-1 {
				break
			}
			if first != first {
				first = s.At
			}
			play(o, s)
			last = s.At
		}
		if last-first > longest {
			longest = last - first
			state, err := o.Export()
			if err != nil {
				return nil, err
			}
			best = state
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no home begins with a calm moment to take a baseline from")
	}
	return best, nil
}

func play(o *risk.Observer, s predict.Sample) risk.Risk {
	for i, n := range s.Metrics {
		o.Put(o.Bind(n), s.Values[i])
	}
	return o.Tick(s.At)
}

// alarms counts what an operator would see: faults in which the model was high, and alarms outside any.
type alarms struct {
	faults, gradual, found, early, wrong int
	ahead                                []float64 // seconds before full strength
	seconds                              float64
	missed                               map[string]int
	say                                  func(format string, args ...any)
}

func (a *alarms) String() string {
	median := 0.0
	if n := len(a.ahead); n > 0 {
		slices.Sort(a.ahead)
		median = a.ahead[n/2]
	}
	return fmt.Sprintf("%d of %d faults raised before their end; of %d that came on gradually %d before full strength, by %.0f s (median); %d false alarms in %.1f h; missed: %v",
		a.found, a.faults, a.gradual, a.early, median, a.wrong, a.seconds/3600, a.missed)
}

func (a *alarms) add(m *risk.Model, h predict.History) {
	const fade = 30 // seconds in which what a fault left behind still counts as the fault
	o := risk.NewObserver(m)
	seen := make([]float64, len(h.Faults))
	for i := range seen {
		seen[i] = math.Inf(1)
	}
	first, last := math.NaN(), 0.0
	for s := range h.Samples {
		r := play(o, s)
		if first != first {
			first = s.At
		}
		last = s.At
		if !r.High {
			continue
		}
		near := false
		for i, f := range h.Faults {
			near = near || s.At >= f.Onset && s.At <= f.To+fade
			if s.At >= f.Onset && s.At <= f.To {
				seen[i] = math.Min(seen[i], s.At)
			}
		}
		if r.Changed && !near {
			a.wrong++
			a.say("%s %.1f s after its start: false alarm at %.2f, %v", h.Home, s.At-first, r.Probability, r.Reasons[:r.N])
		}
	}
	a.seconds += last - first
	for i, at := range seen {
		if h.Faults[i].Unclear {
			continue
		}
		a.faults++
		if h.Faults[i].Onset < h.Faults[i].From {
			a.gradual++
		}
		switch {
		case at < h.Faults[i].From:
			a.early++
			a.ahead = append(a.ahead, h.Faults[i].From-at)
			a.found++
		case !math.IsInf(at, 1):
			a.found++
		default:
			if a.missed == nil {
				a.missed = map[string]int{}
			}
			a.missed[h.Faults[i].Kind]++
		}
	}
}

// read reads one home.
func read(dir string, unclear []string) (predict.History, error) {
	h := predict.History{Device: filepath.Base(dir), Home: filepath.Base(dir)}
	names, rows, err := readCSV(filepath.Join(dir, "trace.csv"))
	if err != nil {
		return h, err
	}
	if len(names) < 2 || names[0] != "ts_ms" {
		return h, fmt.Errorf("%s:1: the first column must be \"ts_ms\"", filepath.Join(dir, "trace.csv"))
	}
	samples := make([]predict.Sample, len(rows))
	for i, r := range rows {
		samples[i] = predict.Sample{At: r[0] / 1000, Metrics: names[1:], Values: r[1:]}
	}
	slices.SortStableFunc(samples, func(a, b predict.Sample) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	h.Samples = slices.Values(samples)
	faults := filepath.Join(dir, "faults.csv")
	f, err := os.Open(faults)
	if err != nil {
		return h, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	var head []string
	for line := 1; s.Scan(); line++ {
		cells := strings.Split(strings.TrimSpace(s.Text()), ",")
		if line == 1 {
			head = cells
			continue
		}
		get := func(name string) (float64, error) {
			i := slices.Index(head, name)
			if i < 0 || i >= len(cells) {
				return 0, fmt.Errorf("%s:%d: column %q is missing", faults, line, name)
			}
			v, err := strconv.ParseFloat(cells[i], 64)
			if err != nil {
				return 0, fmt.Errorf("%s:%d: column %q holds %q, which is not a number", faults, line, name, cells[i])
			}
			return v, nil
		}
		from, err := get("start_ms")
		if err != nil {
			return h, err
		}
		to, err := get("end_ms")
		if err != nil {
			return h, err
		}
		onset := from // a fault that came at once
		if slices.Contains(head, "onset_ms") {
			if onset, err = get("onset_ms"); err != nil {
				return h, err
			}
		}
		kind := slices.Index(head, "kind")
		if kind < 0 || to < from || onset > from {
			return h, fmt.Errorf("%s:%d: needs a kind, an onset no later than the start and an end no earlier", faults, line)
		}
		h.Faults = append(h.Faults, predict.Fault{
			From: from / 1000, To: to / 1000, Kind: cells[kind], Onset: onset / 1000, Unclear: slices.Contains(unclear, cells[kind]),
		})
	}
	return h, s.Err()
}

func readCSV(path string) (names []string, rows [][]float64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for line := 1; ; line++ {
		text, err := r.ReadString('\n')
		if err == io.EOF { // a last line without its end is still being written
			return names, rows, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		cells := strings.Split(strings.TrimRight(text, "\r\n"), ",")
		if line == 1 {
			names = cells
			continue
		}
		if len(cells) != len(names) {
			return nil, nil, fmt.Errorf("%s:%d: %d cells, the header has %d", path, line, len(cells), len(names))
		}
		row := make([]float64, len(cells))
		for i, c := range cells {
			row[i] = math.NaN()
			if c == "" {
				continue
			}
			if row[i], err = strconv.ParseFloat(c, 64); err != nil {
				return nil, nil, fmt.Errorf("%s:%d: column %q holds %q, which is not a number", path, line, names[i], c)
			}
		}
		rows = append(rows, row)
	}
}
