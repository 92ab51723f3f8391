package scan

import "math"

// Alarm says that a cohort has gone bad.
type Alarm struct {
	Step       int     // the step that gave it away, from 0
	Cohort     Cohort  // who
	Score      float64 // log odds against innocence, comparable within one fleet
	Confidence float64 // share of the evidence that speaks for this cohort rather than another
	Since      int     // step it most likely began at
	Times      float64 // how it most likely fails: own hazard multiplied by this,
	Plus       float64 // and this many faults a device and step added
	Devices    int     // in the cohort
	Faulty     int     // of these with a fault since then
	Faults     int     // of the cohort since then
	Expected   float64 // faults there would have been as before
}

// openCohort is an alarm that is not over.
type openCohort struct {
	cohort Cohort
	usual  map[int]float64 // faults a step to expect of each of its devices, as of before it began
	excess float64         // faults a step over the expected, when it was raised
	since  int             // step it was raised in
}

const (
	// sure is the share of the evidence that the cohort to be named must have. An alarm that names the wrong
	// one sends people the wrong way, so one that is less sure is held back for a step or two, in which the
	// evidence of a true one grows and many a false one goes away.
	sure = 0.75
	held = 2 // steps after which it is raised all the same
)

// most is how many cohorts can be found bad in one step.
const most = 4

func (d *Detector) judge(t int) []Alarm {
	d.settle(t)
	out := make([]bool, len(d.of)) // devices that are accounted for
	for _, o := range d.open {
		for i := range o.usual {
			out[i] = true
		}
	}
	var alarms []Alarm
	doubt := false
	for range most {
		d.part.gather(&d.sums, nil, out, func(i int) *statistics { return &d.tracks[d.of[i]].ratio })
		best, top := d.part.top(&d.sums, d.threshold)
		if best < 0 {
			break
		}
		a := d.describe(t, best, top)
		if a.Confidence < sure && d.held < held {
			doubt = true
			break
		}
		o := openCohort{cohort: a.Cohort, since: t, usual: map[int]float64{}}
		o.excess = (float64(a.Faults) - a.Expected) / float64(t-a.Since+1)
		for i, l := range d.labels {
			if a.Cohort.Contains(l) {
				out[i] = true
				o.usual[i] = float64(d.tracks[d.of[i]].usual[a.Since%memory])
			}
		}
		widened := false
		for k := range d.open {
			if d.open[k].cohort.nested(a.Cohort) {
				// Named too narrowly at first, or too widely: it is the same trouble.
				d.open[k] = o
				widened = true
				break
			}
		}
		if !widened {
			d.open = append(d.open, o)
			alarms = append(alarms, a)
		}
	}
	if doubt {
		d.held++
	} else {
		d.held = 0
	}
	return alarms
}

// top returns the cell with the highest score above floor and that score, or -1.
func (p *partition) top(s *sums, floor float64) (int, float64) {
	best := -1
	for c := range s.cells {
		prior := p.cells[c].prior
		if v := s.cells[c].score(floor-prior) + prior; v > floor {
			best, floor = c, v
		}
	}
	return best, floor
}

// describe puts the evidence for a cell together.
func (d *Detector) describe(t, c int, score float64) Alarm {
	a := Alarm{Step: t, Cohort: d.part.cells[c].cohort, Score: score, Devices: d.part.cells[c].devices}
	all := 0.0
	for i := range d.sums.cells {
		all += math.Exp(d.sums.cells[i].score(math.Inf(-1)) + d.part.cells[i].prior - score)
	}
	a.Confidence = 1 / all
	s := &d.sums.cells[c]
	top := 0
	for i, v := range s {
		if v > s[top] {
			top = i
		}
	}
	a.Since = startOf(top/ways, t)
	w := d.hazard.shifts()[top%ways]
	a.Times, a.Plus = w.times, w.plus
	for i, l := range d.labels {
		if !a.Cohort.Contains(l) {
			continue
		}
		faults, steps := d.since(i, a.Since, t)
		a.Faults += faults
		if faults > 0 {
			a.Faulty++
		}
		a.Expected += float64(d.tracks[d.of[i]].usual[a.Since%memory]) * steps
	}
	return a
}

// since returns a device's faults from step from to t and the exposure it was heard of for.
func (d *Detector) since(device, from, t int) (faults int, steps float64) {
	for ; from <= t; from++ {
		if row := d.past[from%memory]; device < len(row) && row[device] >= 0 {
			faults += int(row[device])
			steps += d.exposure[from%memory]
		}
	}
	return faults, steps
}

// settle closes the alarms whose cohorts have shown less than a quarter of the excess for a week, taken
// together: day by day a small cohort says nothing. They are held against what was usual before, or a
// fault that stays would become the new usual. A cohort that is not heard of stays open.
func (d *Detector) settle(t int) {
	keep := d.open[:0]
	for _, o := range d.open {
		if t-o.since < week {
			keep = append(keep, o)
			continue
		}
		faults, expected, heard := 0, 0.0, 0.0
		for i, usual := range o.usual {
			n, steps := d.since(i, t-week+1, t)
			faults += n
			expected += usual * steps
			heard += steps
		}
		if heard == 0 || float64(faults)-expected > max(o.excess*week/4, 2*math.Sqrt(expected)) {
			keep = append(keep, o)
		}
	}
	d.open = keep
}

// Open returns the cohorts whose alarms are not over.
func (d *Detector) Open() []Cohort {
	var c []Cohort
	for _, o := range d.open {
		c = append(c, o.cohort)
	}
	return c
}
