package scan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// fleet is made of devices of two kinds: most never fail, some do in bursts.
type fleet struct {
	rng    *rand.Rand
	labels [][]string
	rate   []float64
	burst  []bool
}

func newFleet(seed uint64, devices int) *fleet {
	f := &fleet{rng: rand.New(rand.NewPCG(seed, 7))}
	for range devices {
		f.labels = append(f.labels, []string{
			fmt.Sprint("m", f.rng.IntN(4)), fmt.Sprint("f", f.rng.IntN(3)), fmt.Sprint("r", f.rng.IntN(5)),
		})
		rate := 0.002
		if f.rng.Float64() < 0.4 {
			rate = 0.05 + 0.3*f.rng.Float64()
		}
		f.rate = append(f.rate, rate)
		f.burst = append(f.burst, false)
	}
	return f
}

// day draws a day in which a device's hazard h becomes change(device, h).
func (f *fleet) day(change func(device int, h float64) float64) []int16 {
	row := make([]int16, len(f.rate))
	for d := range row {
		if f.rng.Float64() < 0.2 {
			f.burst[d] = !f.burst[d]
		}
		h := f.rate[d]
		if f.burst[d] {
			h *= 3
		}
		if change != nil {
			h = change(d, h)
		}
		p, limit := f.rng.Float64(), math.Exp(-h)
		for p > limit {
			row[d]++
			p *= f.rng.Float64()
		}
	}
	return row
}

func (f *fleet) detector(t testing.TB) *Detector {
	t.Helper()
	d, err := New(Options{Dimensions: []string{"model", "firmware", "region"}, Learn: 40, Shuffles: 60})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range f.labels {
		d.Add(l...)
	}
	return d
}

func observe(t testing.TB, d *Detector, row []int16) []Alarm {
	t.Helper()
	alarms, err := d.Observe(row, 1)
	if err != nil {
		t.Fatal(err)
	}
	return alarms
}

// learned returns a detector that has seen the fleet's quiet past.
func (f *fleet) learned(t testing.TB) *Detector {
	d := f.detector(t)
	for range 40 {
		if alarms := observe(t, d, f.day(nil)); alarms != nil {
			t.Fatalf("an alarm while learning: %+v", alarms)
		}
	}
	return d
}

func TestACohortThatGoesBadIsFoundAndNamed(t *testing.T) {
	bad := Cohort{"m1", "f2", Any}
	for name, change := range map[string]func(h float64) float64{
		"a fault that hits healthy devices too": func(h float64) float64 { return h + 0.15 },
		"a fault that worsens what is weak":     func(h float64) float64 { return h * 4 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(3, 800)
			d := f.learned(t)
			for range 10 {
				alarms := observe(t, d, f.day(func(i int, h float64) float64 {
					if bad.Contains(f.labels[i]) {
						return change(h)
					}
					return h
				}))
				if len(alarms) == 0 {
					continue
				}
				a := alarms[0]
				if !slices.Equal(a.Cohort, bad) {
					t.Fatalf("named %v, want %v", a.Cohort, bad)
				}
				if a.Since < 38 || a.Since > a.Step {
					t.Errorf("began at step %d, the truth is 40", a.Since)
				}
				if float64(a.Faults) < 1.5*a.Expected || a.Faulty == 0 || a.Confidence <= 0.3 || a.Confidence > 1 {
					t.Errorf("evidence does not speak for itself: %+v", a)
				}
				return
			}
			t.Fatal("not found within ten days")
		})
	}
}

func TestABadBatchOfAReliableFleetIsSeenAfterAHandfulOfDevices(t *testing.T) {
	for name, c := range map[string]struct {
		devices, most int
		rate, worse   float64
		bad           Cohort
	}{
		"thousands of devices that hardly ever fail":    {2000, 20, 0.001, 0.03, Cohort{"m1", "f1", Any}},
		"a few dozen devices of which none ever failed": {60, 10, 0, 0.15, Cohort{Any, "f1", Any}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(17, c.devices)
			for i := range f.rate {
				f.rate[i] = c.rate
			}
			d := f.learned(t)
			for range 10 {
				alarms := observe(t, d, f.day(func(i int, h float64) float64 {
					if c.bad.Contains(f.labels[i]) {
						return h + c.worse
					}
					return h
				}))
				if len(alarms) == 0 {
					continue
				}
				if a := alarms[0]; a.Faulty > c.most || !slices.Equal(a.Cohort, c.bad) {
					t.Errorf("%v was named after %d devices, want %v after at most %d", a.Cohort, a.Faulty, c.bad, c.most)
				}
				return
			}
			t.Error("not seen at all")
		})
	}
}

func TestAQuietFleetRaisesFewAlarms(t *testing.T) {
	alarms, days := 0, 0
	for seed := range uint64(6) {
		f := newFleet(100+seed, 500)
		d := f.learned(t)
		for range 90 {
			alarms += len(observe(t, d, f.day(nil)))
			days++
		}
	}
	// One per 90 days is asked for: 6 expected. 16 or more would be a chance of one in a thousand.
	if alarms > 15 {
		t.Errorf("%d alarms in %d quiet days, 6 were asked for", alarms, days)
	}
}

func TestAModelThatWasAlwaysWorseIsNotGoingBad(t *testing.T) {
	alarms := 0
	for seed := range uint64(4) {
		f := newFleet(40+seed, 500)
		for i, l := range f.labels {
			if f.rate[i] = 0.02; l[0] == "m1" {
				f.rate[i] = 0.15
			}
		}
		d := f.detector(t)
		for range 40 + 60 {
			alarms += len(observe(t, d, f.day(nil)))
		}
	}
	if alarms > 8 { // 2.7 expected
		t.Errorf("%d alarms in 240 quiet days", alarms)
	}
}

func TestWhatHappensEverywhereIsNoOutbreak(t *testing.T) {
	for name, change := range map[string]func(h float64) float64{
		"every hazard is three times as high":    func(h float64) float64 { return 3 * h },
		"every device restarts with the clocks":  func(h float64) float64 { return h + 0.5 },
		"a holiday on which nobody uses a thing": func(h float64) float64 { return h / 4 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(11, 800)
			d := f.learned(t)
			for day := range 6 {
				row := f.day(func(_ int, h float64) float64 {
					if day == 2 || day == 3 {
						return change(h)
					}
					return h
				})
				if alarms := observe(t, d, row); len(alarms) > 0 {
					t.Fatalf("day %d: %+v", day, alarms)
				}
			}
		})
	}
}

func TestWeekendsAreLearned(t *testing.T) {
	f := newFleet(12, 800)
	d := f.detector(t)
	weekend := func(day int) func(int, float64) float64 {
		return func(_ int, h float64) float64 {
			if day%7 >= 5 {
				return 2 * h
			}
			return h
		}
	}
	alarms := 0
	for day := range 40 + 60 {
		alarms += len(observe(t, d, f.day(weekend(day))))
	}
	if d.common.spread == 0 {
		t.Error("the weekends left no trace in what was learned")
	}
	if alarms > 3 { // 0.7 expected
		t.Errorf("%d alarms in 60 days with weekends", alarms)
	}
}

func TestMissingIsNotCalm(t *testing.T) {
	f := newFleet(5, 300)
	d := f.learned(t)
	row := f.day(nil)
	for i := range row {
		row[i] = 2
		if i >= 150 {
			row[i] = 0
		}
	}
	observe(t, d, row)
	ratios := func(i int) statistics { return d.tracks[d.of[i]].ratio }
	before := ratios(0)
	silent, calm := make([]int16, 300), make([]int16, 300)
	for i := range silent {
		silent[i] = Missing
	}
	spoken := *d.tracks[d.of[0]]
	observe(t, d, silent)
	after := ratios(0)
	slot := slotOf(40) * ways
	if before[slot] != after[slot] {
		t.Errorf("a day of silence changed the evidence from %v to %v", before[slot], after[slot])
	}
	spoken.age(&d.hazard, 41)
	spoken.see(d.hazard.tables(1, step{exposure: 1}), calm[0])
	if spoken.ratio[slot] >= before[slot] {
		t.Errorf("a day without a fault did not lower the evidence: %v, %v", before[slot], spoken.ratio[slot])
	}
}

func TestAnUpdatedDeviceStartsWithACleanSheet(t *testing.T) {
	f := newFleet(6, 300)
	d := f.learned(t)
	observe(t, d, f.day(func(_ int, h float64) float64 { return h }))
	d.Move(0, "m1", "f9", "r1")
	if d.tracks[d.of[0]].ratio != (statistics{}) {
		t.Error("what it did before is held against its new cohort")
	}
	if alarms := observe(t, d, f.day(nil)); len(alarms) > 0 {
		t.Errorf("the move raised %+v", alarms)
	}
	if got := d.labels[0]; !slices.Equal(got, []string{"m1", "f9", "r1"}) {
		t.Errorf("labels are %v", got)
	}
}

func TestAnAlarmIsRaisedOnceAndEndsWhenTheFaultIsCured(t *testing.T) {
	f := newFleet(8, 400)
	d := f.learned(t)
	bad := Cohort{"m0", "f1", Any} // three dozen devices: a single day of theirs says little
	sick := func(i int, h float64) float64 {
		if bad.Contains(f.labels[i]) {
			return h + 0.15
		}
		return h
	}
	raised := 0
	for range 45 { // longer than any start is kept: the fault must not become the new usual
		for _, a := range observe(t, d, f.day(sick)) {
			if a.Cohort.nested(bad) { // in 45 days there may be a false one elsewhere
				raised++
			}
		}
	}
	if raised != 1 || !slices.ContainsFunc(d.Open(), bad.nested) {
		t.Fatalf("%d alarms, open %v, want one that is still open", raised, d.Open())
	}
	for range 14 {
		observe(t, d, f.day(nil))
	}
	if slices.ContainsFunc(d.Open(), bad.nested) {
		t.Errorf("still open two weeks after the cure: %v", d.Open())
	}
}

func TestTwoCohortsThatShareNothingAreTwoAlarms(t *testing.T) {
	f := newFleet(9, 1000)
	d := f.learned(t)
	a, b := Cohort{"m0", "f0", Any}, Cohort{"m3", "f2", Any}
	found := map[string]bool{}
	for range 5 {
		for _, alarm := range observe(t, d, f.day(func(i int, h float64) float64 {
			if a.Contains(f.labels[i]) || b.Contains(f.labels[i]) {
				return h + 0.4
			}
			return h
		})) {
			found[fmt.Sprint(alarm.Cohort)] = true
		}
	}
	if len(found) != 2 || !found[fmt.Sprint(a)] || !found[fmt.Sprint(b)] {
		t.Errorf("found %v", found)
	}
}

func TestCohortsOfTheSameDevicesAreOne(t *testing.T) {
	var labels [][]string
	for i := range 60 {
		// Each model has its own hardware, all have one provider, and some regions are not known.
		labels = append(labels, []string{fmt.Sprint("m", i%3), fmt.Sprint("h", i%3), "isp", []string{"", "r1", "r2"}[i/20]})
	}
	p := cut(labels, &Options{Dimensions: []string{"model", "hardware", "isp", "region"}, Smallest: 5})
	var got []string
	for _, c := range p.cells {
		got = append(got, fmt.Sprint(c.cohort, c.devices))
	}
	slices.Sort(got)
	want := []string{
		"[* * * r1] 20", "[* * * r2] 20", "[m0 * * *] 20", "[m0 * * r1] 7", "[m0 * * r2] 6", "[m1 * * *] 20",
		"[m1 * * r1] 6", "[m1 * * r2] 7", "[m2 * * *] 20", "[m2 * * r1] 7", "[m2 * * r2] 7",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSmallAndEmptyFleetsAreNoProblem(t *testing.T) {
	for name, devices := range map[string]int{"no device": 0, "one device": 1, "seven": 7, "forty": 40} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(1, devices)
			d := f.detector(t)
			for range 60 {
				if alarms := observe(t, d, make([]int16, devices)); len(alarms) > 0 {
					t.Fatalf("%+v", alarms)
				}
			}
			if want := math.Log(90); d.Threshold() != want {
				t.Errorf("threshold %v without any fault to learn from, want %v", d.Threshold(), want)
			}
		})
	}
}

func TestDevicesThatFailedExactlyAlikeAreNoProblem(t *testing.T) {
	f := newFleet(5, 200)
	d := f.detector(t)
	row := make([]int16, len(f.rate))
	for day := range d.opts.Learn + 10 {
		for i := range row {
			row[i] = 0
			if day == 3 { // the only fault of each, on the same day
				row[i] = 1
			}
		}
		if alarms := observe(t, d, row); len(alarms) > 0 {
			t.Fatalf("day %d: %v", day, alarms)
		}
	}
	if !(d.Threshold() >= 0) {
		t.Errorf("threshold %v is one that evidence against a batch would pass", d.Threshold())
	}
}

func TestTheSameFleetGivesTheSameAlarms(t *testing.T) {
	run := func() (thresholds []float64, all []Alarm) {
		f := newFleet(21, 400)
		d := f.learned(t)
		for range 20 {
			all = append(all, observe(t, d, f.day(func(i int, h float64) float64 {
				if f.labels[i][0] == "m2" {
					return h * 2
				}
				return h
			}))...)
		}
		return []float64{d.Threshold()}, all
	}
	h1, a1 := run()
	h2, a2 := run()
	if h1[0] != h2[0] || fmt.Sprint(a1) != fmt.Sprint(a2) || len(a1) == 0 {
		t.Errorf("%v %v, then %v %v", h1, a1, h2, a2)
	}
}

func TestBadOptionsAndCountsAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no dimensions":       {},
		"too short a past":    {Dimensions: []string{"a"}, Learn: 5},
		"no such dimension":   {Dimensions: []string{"a"}, Deeper: [][]int{{0, 1}}},
		"a negative period":   {Dimensions: []string{"a"}, FalseAlarmEvery: -1},
		"a period of NaN":     {Dimensions: []string{"a"}, FalseAlarmEvery: math.NaN()},
		"a negative smallest": {Dimensions: []string{"a"}, Smallest: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	d, err := New(Options{Dimensions: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Observe([]int16{1}, 1); err == nil {
		t.Error("a count of an unknown device was accepted")
	}
	if _, err := d.Observe(nil, 0); err == nil {
		t.Error("a step without length was accepted")
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, devices := range []int{3_000, 100_000} {
		b.Run(fmt.Sprint(devices), func(b *testing.B) {
			f := newFleet(2, devices)
			d := f.learned(b)
			for b.Loop() {
				b.StopTimer()
				row := f.day(nil)
				b.StartTimer()
				observe(b, d, row)
			}
		})
	}
}
