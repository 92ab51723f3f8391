package scan

import (
	"cmp"
	"math"
	"slices"
)

// common is what moves the whole fleet at once: a weekend, a change of the clocks, a bad day of the
// internet. Each step it is read off the fleet, as medians over cohorts so that one bad cohort cannot
// pass for it, and divided out: a factor on every hazard, seen where faults are
// expected, and a hazard added to every device, seen where none are.
type common struct {
	noise  float64 // variance of the log factor read off a fleet that stays as it is
	spread float64 // variance of the true log factor from step to step
}

const (
	rare     = 0.02 // share of steps on which something happens that the quiet past did not show,
	violent  = 1.0  // with this variance of the log factor
	gate     = 4.0  // standard deviations above which an added hazard is believed
	quietest = 0.25 // devices expected below this multiple of the mean hazard are quiet
)

// reading is what a cohort of one dimension, or the fleet, shows in a step.
type reading struct {
	faults, expected, square float64 // of devices that are not quiet; square of the surprise
	quiet                    int     // quiet devices
	calm, few                float64 // faults of these, and expected
}

// read sums up a step whose tracks are aged but have not seen it. The last reading is the fleet's.
func (d *Detector) read(row []int16, exposure float64) []reading {
	usual := make([]float64, len(d.tracks))
	d.each(func(k int) {
		for j, p := range d.tracks[k].healthy {
			usual[k] += p * d.hazard.rate[j] * d.tracks[k].scale
		}
		usual[k] = d.hazard.seen(usual[k] * exposure)
	})
	// Strata first: a device is in many cohorts, and a stratum holds many devices.
	strata := make([]reading, d.part.strata)
	for i, y := range row {
		if y < 0 {
			continue
		}
		r, e, n := &strata[d.part.stratum[i]], usual[d.of[i]], float64(y)
		if e < quietest*d.hazard.mean*exposure {
			r.quiet++
			r.calm += n
			r.few += e
			continue
		}
		r.faults += n
		r.expected += e
		r.square += (n - e) * (n - e)
	}
	cells := make([]reading, len(d.part.cells)+1)
	for s := range strata {
		cells[len(cells)-1].add(&strata[s])
		for _, c := range d.part.member[s] {
			if d.part.cells[c].dims == 1 {
				cells[c].add(&strata[s])
			}
		}
	}
	return cells
}

func (r *reading) add(o *reading) {
	r.faults += o.faults
	r.expected += o.expected
	r.square += o.square
	r.quiet += o.quiet
	r.calm += o.calm
	r.few += o.few
}

// fewestLabels is how many cohorts a dimension must have for their median to leave one bad one out.
const fewestLabels = 3

// moved is the log factor and the added hazard that a step's readings suggest, before any doubt, and how
// many standard deviations the latter stands for. What happens to the whole fleet shows in every
// dimension; what a single region or model does shows in all but its own. So the least of the
// dimensions' medians counts.
func (p *partition) moved(cells []reading) (log, plus, z float64) {
	all := cells[len(cells)-1]
	log, plus = math.Inf(1), math.Inf(1)
	for dim := range p.dims {
		var logs, adds []weighted
		for i, r := range cells[:len(cells)-1] {
			if c := p.cells[i]; c.dims != 1 || c.cohort[dim] == Any {
				continue
			}
			if r.expected > 1 {
				logs = append(logs, weighted{math.Log((r.faults + 0.5) / (r.expected + 0.5)), r.expected})
			}
			if r.quiet > 0 {
				adds = append(adds, weighted{(r.calm - r.few) / float64(r.quiet), float64(r.quiet)})
			}
		}
		if m := median(logs); len(logs) >= fewestLabels && math.Abs(m) < math.Abs(log) {
			log = m
		}
		if m := median(adds); len(adds) >= fewestLabels {
			plus = min(plus, max(m, 0))
		}
	}
	if math.IsInf(log, 0) {
		log = 0
	}
	if math.IsInf(plus, 0) {
		plus = 0
	}
	return log, plus, plus * float64(all.quiet) / math.Sqrt(all.few+1)
}

type weighted struct{ value, weight float64 }

func median(v []weighted) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.SortFunc(v, func(a, b weighted) int { return cmp.Compare(a.value, b.value) })
	half := 0.0
	for _, x := range v {
		half += x.weight / 2
	}
	for _, x := range v {
		if half -= x.weight; half <= 0 {
			return x.value
		}
	}
	return v[len(v)-1].value
}

// learn measures noise and spread on the learning period and returns the factor of each step, and
// whether they are worth dividing out before the hazard is fitted again.
func (c *common) learn(d *Detector) (factors []float64, moves bool) {
	readings := make([][]reading, 0, len(d.past))
	d.relive(func(t int, row []int16) {
		readings = append(readings, d.read(row, d.exposure[t]))
		d.see(row, step{exposure: d.exposure[t]})
	})
	var noise, square, n float64
	for t, r := range readings {
		if all := r[len(r)-1]; t >= week && all.expected > 1 {
			noise += all.square / (all.expected * all.expected)
			log, _, _ := d.part.moved(r)
			square += log * log
			n++
		}
	}
	if n > 0 {
		// A median of a few cohorts is about a quarter less sharp than the fleet's mean in deviation.
		c.noise = 1.5 * noise / n
		c.spread = max(square/n-c.noise, 0)
	}
	for t, r := range readings {
		f, _ := c.shrink(d.part.moved(r))
		if t < week { // beliefs are still finding their feet
			f = 1
		}
		factors = append(factors, f)
	}
	return factors, c.spread > c.noise/4
}

// shrink doubts what a step's readings suggest as far as the noise asks for.
func (c *common) shrink(log, added, z float64) (factor, plus float64) {
	if z >= gate {
		plus = added
	}
	if c.noise == 0 {
		return 1, plus
	}
	usual, odd := c.spread+c.noise, c.spread+c.noise+violent
	pUsual := (1 - rare) * math.Exp(-log*log/2/usual) / math.Sqrt(usual)
	pOdd := rare * math.Exp(-log*log/2/odd) / math.Sqrt(odd)
	odds := pOdd / (pUsual + pOdd)
	return math.Exp(log * ((1-odds)*c.spread/usual + odds*(c.spread+violent)/odd)), plus
}

// step reads off a step what is the same for the whole fleet.
func (c *common) step(d *Detector, row []int16, exposure float64) step {
	f, plus := c.shrink(d.part.moved(d.read(row, exposure)))
	return step{exposure * f, plus}
}
