package scan

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	warm = memory - 4 // steps before this one say too little about the devices to set a threshold on

	// fewest is how many peaks the threshold must rest on; beyond them the tail is carried on.
	fewest = 10
)

// calibrate deals the quiet past out to shuffled cohorts and returns the score that they exceed once in
// FalseAlarmEvery steps. Peaks less than a week apart count as one, as they would raise one alarm.
func (d *Detector) calibrate(quiet [][]statistics) float64 {
	// A mean likelihood ratio stays below B with probability 1-1/B as long as nothing happens (Ville),
	// so this is enough if the model is right. Too few faults or devices say nothing else.
	bound := math.Log(d.opts.FalseAlarmEvery)
	if len(d.part.cells) == 0 || d.hazard.faults < 50 {
		return bound
	}
	shuffles := make([][]float64, d.opts.Shuffles)
	parallel(len(shuffles), func(k int) {
		// The fleet's own order seeds the shuffle: nothing is random from run to run.
		place := rand.New(rand.NewPCG(uint64(k), uint64(len(d.of)))).Perm(len(d.of))
		var s sums
		var peaks []float64
		last := 0
		for t, stats := range quiet {
			d.part.gather(&s, place, nil, func(i int) *statistics { return &stats[i] })
			_, top := d.part.top(&s, math.Inf(-1))
			if n := len(peaks); n > 0 && t-last < week {
				peaks[n-1] = max(peaks[n-1], top)
				continue
			}
			peaks = append(peaks, top)
			last = t
		}
		shuffles[k] = peaks
	})
	peaks := slices.Concat(shuffles...)
	slices.SortFunc(peaks, func(a, b float64) int { return cmp.Compare(b, a) })
	want := float64(len(quiet)*len(shuffles)) / d.opts.FalseAlarmEvery
	if want < fewest {
		// The tail of a log likelihood ratio falls at least like exp(-score): carry it on from where it is known.
		return max(peaks[min(fewest, len(peaks)-1)]+math.Log(fewest/want), 0)
	}
	// Below 0 the evidence speaks for a healthy cohort: no past, however calm, makes that an alarm.
	return max(peaks[min(int(want), len(peaks)-1)], 0)
}
