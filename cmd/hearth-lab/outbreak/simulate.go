package outbreak

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// trace is one real device's fault onsets, day by day.
type trace []int

// shortest is how many days a trace must have to stand for a device.
const shortest = 60

// readTraces reads real devices' faults per day, of those seen long enough.
func readTraces(path string) (_ []trace, err error) {
	t, err := open(path, "site", "device", "onsets")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.f.Close()) }()
	index := map[[2]string]int{}
	var all []trace
	for {
		ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		n, err := t.number(2)
		if err == nil && n < 0 {
			err = t.wrong(2, "is below zero")
		}
		if err != nil {
			return nil, err
		}
		k := [2]string{t.text(0), t.text(1)}
		i, ok := index[k]
		if !ok {
			i = len(all)
			index[k] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], n)
	}
	kept := all[:0]
	for _, tr := range all {
		if len(tr) >= shortest {
			kept = append(kept, tr)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%s: no device was seen for %d days", path, shortest)
	}
	return kept, nil
}

// The ways a simulated cohort goes bad.
const (
	wayNone      = "none"       // it does not
	wayAdded     = "added"      // each device gets (k-1) times the fleet's mean daily hazard on top
	wayTimes     = "times"      // each device's hazard of the day is multiplied by k
	wayTimesMean = "times-mean" // each device gets (k-1) times its own mean daily hazard on top, bursts or not
)

// scenario is what is done to a simulated fleet.
type scenario struct {
	way       string
	k         float64 // how much worse
	low, high int     // devices the cohort has
	daily     bool    // a day with onsets is one event, before it is thinned: the fleet is seven times as quiet
}

func (s scenario) String() string {
	text := wayNone
	if s.way != wayNone {
		text = fmt.Sprintf("%s %d-%d devices k=%g", s.way, s.low, s.high, s.k)
	}
	if s.daily {
		return text + ", daily"
	}
	return text + ", each onset"
}

// truth is what was done.
type truth struct {
	way    string
	cohort []string // nil when nothing was
	onset  int      // day it began
	size   int      // devices of the cohort
}

// The simulated fleet, as the data's README describes it.
var (
	modelShare    = []float64{.30, .25, .20, .10, .10, .05}
	firmwareShare = []float64{.40, .30, .20, .10}
)

const (
	fleetDevices = 3000
	fleetDays    = 120
	fleetOnset   = 80
	fleetRegions = 6
	thinning     = 0.15
)

// simulate makes the fleet of a seed: each device replays a real trace from somewhere in it, thinned, and
// from fleetOnset on one cohort of model and firmware goes bad.
func simulate(traces []trace, sc scenario, seed uint64) (*fleet, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	f := &fleet{truth: truth{way: sc.way}}
	type pair struct{ model, firmware int }
	var of []pair
	size := map[pair]int{}
	for d := range fleetDevices {
		p := pair{pick(rng, modelShare), pick(rng, firmwareShare)}
		of = append(of, p)
		size[p]++
		f.devices = append(f.devices, fmt.Sprintf("d%04d", d))
		f.labels = append(f.labels, []string{fmt.Sprintf("m%d", p.model+1), fmt.Sprintf("f%d", p.firmware+1), fmt.Sprintf("r%d", 1+rng.IntN(fleetRegions))})
	}
	raw := make([]trace, fleetDevices)
	f.counts = make([][]int16, fleetDays)
	for t := range f.counts {
		f.counts[t] = make([]int16, fleetDevices)
	}
	total := 0
	for d := range raw {
		tr := traces[rng.IntN(len(traces))]
		at := rng.IntN(len(tr))
		for t := range fleetDays {
			n := tr[(at+t)%len(tr)]
			if sc.daily {
				n = min(n, 1)
			}
			raw[d] = append(raw[d], n)
			for range n {
				if rng.Float64() < thinning {
					f.counts[t][d]++
					total++
				}
			}
		}
	}
	if sc.way != wayNone {
		var fit []pair
		for m := range modelShare {
			for w := range firmwareShare {
				if n := size[pair{m, w}]; n >= sc.low && n <= sc.high {
					fit = append(fit, pair{m, w})
				}
			}
		}
		if len(fit) == 0 {
			return nil, fmt.Errorf("seed %d: no model x firmware cohort of %d to %d devices", seed, sc.low, sc.high)
		}
		bad := fit[rng.IntN(len(fit))]
		mean := float64(total) / fleetDevices / fleetDays
		for d, p := range of {
			if p == bad {
				f.worsen(rng, sc, d, raw[d], mean)
			}
		}
		f.truth = truth{sc.way, []string{fmt.Sprintf("m%d", bad.model+1), fmt.Sprintf("f%d", bad.firmware+1), "*"}, fleetOnset, size[bad]}
	}
	if sc.daily {
		for _, row := range f.counts {
			for d := range row {
				row[d] = min(row[d], 1)
			}
		}
	}
	return f, nil
}

func (f *fleet) worsen(rng *rand.Rand, sc scenario, d int, raw trace, mean float64) {
	own := 0.0
	for _, n := range raw {
		own += thinning * float64(n) / float64(len(raw))
	}
	for t := fleetOnset; t < fleetDays; t++ {
		more := mean
		switch sc.way {
		case wayTimes:
			more = thinning * float64(raw[t])
		case wayTimesMean:
			more = own
		}
		f.counts[t][d] += int16(poisson(rng, (sc.k-1)*more))
	}
}

func pick(rng *rand.Rand, share []float64) int {
	u := rng.Float64()
	for i, s := range share {
		if u -= s; u < 0 {
			return i
		}
	}
	return len(share) - 1
}

// poisson draws by Knuth's product, which suits the small means here.
func poisson(rng *rand.Rand, mean float64) int {
	n, p, limit := 0, rng.Float64(), math.Exp(-mean)
	for p > limit {
		n++
		p *= rng.Float64()
	}
	return n
}

func runSimulate(args []string) error {
	fs := flags("outbreak simulate")
	traces := fs.String("traces", "", "real faults per device and day: site,device,...,onsets")
	way := fs.String("way", wayAdded, "added, times, times-mean or none")
	k := fs.Float64("k", 3, "how much worse the cohort gets")
	low := fs.Int("low", 40, "fewest devices in the cohort")
	high := fs.Int("high", 120, "most devices in the cohort")
	daily := fs.Bool("daily", false, "a day with onsets is one event")
	seed := fs.Uint64("seed", 1, "the fleet")
	out := fs.String("out", "", "folder for fleet.csv, events.csv and truth.csv")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *traces == "" || *out == "" || fs.NArg() > 0 {
		return fmt.Errorf("--traces and --out are needed\n%s", usage)
	}
	switch *way {
	case wayNone, wayAdded, wayTimes, wayTimesMean:
	default:
		return fmt.Errorf("--way: %q is none of added, times, times-mean, none", *way)
	}
	if !(*k >= 1) || *k > 100 {
		return fmt.Errorf("--k: %v is not between 1 and 100", *k)
	}
	real, err := readTraces(*traces)
	if err != nil {
		return err
	}
	f, err := simulate(real, scenario{*way, *k, *low, *high, *daily}, *seed)
	if err != nil {
		return err
	}
	return f.write(*out)
}

// write leaves the fleet in a folder as the files that the detector and the judge read.
func (f *fleet) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := create(filepath.Join(dir, "fleet.csv"), func(w *csv.Writer) error {
		if err := w.Write(append([]string{"device"}, dimensions...)); err != nil {
			return err
		}
		for d, name := range f.devices {
			if err := w.Write(append([]string{name}, f.labels[d]...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = create(filepath.Join(dir, "events.csv"), func(w *csv.Writer) error {
		if err := w.Write([]string{"day", "device"}); err != nil {
			return err
		}
		for t, row := range f.counts {
			for d, n := range row {
				for range n {
					if err := w.Write([]string{strconv.Itoa(f.first + t), f.devices[d]}); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return create(filepath.Join(dir, "truth.csv"), func(w *csv.Writer) error {
		if err := w.Write([]string{"way", "model", "firmware", "region", "onset", "devices", "days"}); err != nil {
			return err
		}
		c := f.truth.cohort
		if c == nil {
			c = []string{"", "", ""}
		}
		return w.Write([]string{f.truth.way, c[0], c[1], c[2], strconv.Itoa(f.truth.onset), strconv.Itoa(f.truth.size), strconv.Itoa(len(f.counts))})
	})
}
