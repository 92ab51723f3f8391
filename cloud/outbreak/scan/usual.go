package scan

import "math"

// usual is how much more than the fleet each cohort has always failed. A model that is worse than others
// is not going bad, and a device of it is not expected to recover to the mean of the fleet.
type usual struct {
	kinds  [][]int
	factor []map[string]float64 // of each kind of cell, by key of its labels
}

// apart is how many standard deviations the cohorts of a kind must differ by, taken together, before a
// difference is believed at all: most fleets need no factors, and noise is not worth dividing out.
const apart = 2.0

// learnUsual reads the factors off the learning period, kind by kind, each on top of those before. The
// differences are measured against how much devices differ among themselves, and shrunk accordingly.
func learnUsual(d *Detector) usual {
	u := usual{kinds: kinds(len(d.opts.Dimensions), d.opts.Deeper)}
	faults, seen := make([]float64, len(d.of)), make([]float64, len(d.of))
	total, all := 0.0, 0.0
	for t, row := range d.past {
		for i, y := range row {
			if y >= 0 {
				faults[i] += float64(y)
				seen[i] += d.exposure[t]
				total += float64(y)
				all += d.exposure[t]
			}
		}
	}
	if total == 0 {
		return u
	}
	mean := total / all
	expected := make([]float64, len(d.of))
	square := 0.0
	for i := range expected {
		expected[i] = mean * seen[i]
		square += (faults[i] - expected[i]) * (faults[i] - expected[i])
	}
	// Variance of a sum of faults, per expected fault. Chance alone makes it 1, so devices that failed
	// exactly alike are no proof that they had to.
	spread := max(square/total, 1)
	for _, kind := range u.kinds {
		type sum struct{ faults, expected, devices float64 }
		cells := map[string]*sum{}
		var order []string // sums of floats depend on it
		keys := make([]string, len(d.labels))
		for i, l := range d.labels {
			cohort, known := cohortOf(l, kind)
			if !known || expected[i] == 0 {
				continue
			}
			k := key(cohort)
			keys[i] = k
			if cells[k] == nil {
				cells[k] = &sum{}
				order = append(order, k)
			}
			c := cells[k]
			c.faults += faults[i]
			c.expected += expected[i]
			c.devices++
		}
		chi, freedom, weight := 0.0, -1.0, 0.0
		for _, k := range order {
			c := cells[k]
			if c.devices < float64(d.opts.Smallest) {
				delete(cells, k)
				continue
			}
			chi += (c.faults - c.expected) * (c.faults - c.expected) / (c.expected * spread)
			freedom++
			weight += c.expected / spread
		}
		u.factor = append(u.factor, map[string]float64{})
		if freedom < 1 || chi < freedom+apart*math.Sqrt(2*freedom) {
			continue
		}
		true2 := (chi - freedom) / weight // variance of the true log factors, by the method of moments
		for k, c := range cells {
			noise := spread / c.expected
			log := math.Log((c.faults+0.5)/(c.expected+0.5)) * true2 / (true2 + noise)
			// In steps of a twentieth, so that cohorts alike share their tables.
			u.factor[len(u.factor)-1][k] = math.Exp(math.Round(log*20) / 20)
		}
		for i, k := range keys {
			if f, ok := u.factor[len(u.factor)-1][k]; ok {
				expected[i] *= f
			}
		}
	}
	return u
}

// of returns how much more than the fleet devices of these labels have always failed.
func (u *usual) of(labels []string) float64 {
	scale := 1.0
	for n, kind := range u.kinds {
		if len(u.factor) <= n || len(u.factor[n]) == 0 {
			continue
		}
		if c, known := cohortOf(labels, kind); known {
			if f, ok := u.factor[n][key(c)]; ok {
				scale *= f
			}
		}
	}
	return scale
}
