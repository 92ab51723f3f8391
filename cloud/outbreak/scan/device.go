package scan

const (
	week   = 7
	recent = week          // every one of the last steps is tried as the one it began at,
	ramp   = 3             // and three earlier ones, a week apart, for what creeps up
	starts = recent + ramp // starts under test at any time
	ways   = 5             // ways to go bad under test
)

// shifts are the ways to go bad that are tried; what lies between them is found a little later.
func (h *hazard) shifts() [ways]shift {
	return [ways]shift{
		{times: 2},
		{times: 3.5},
		{times: 1, plus: 0.7 * h.mean},
		{times: 1, plus: 2 * h.mean},
		{times: 1, plus: 15 * h.mean}, // where faults are rare, a bad batch is many times worse than the mean
	}
}

// statistics are one device's, or one cohort's, log likelihood ratios: for each start and each way,
// how much better "it went bad that way then" explains what followed than "it is as it always was".
type statistics [starts * ways]float32

func (s *statistics) add(o *statistics) {
	for i := range s {
		s[i] += o[i]
	}
}

// track follows one device: what is believed of it while healthy, and what would be believed of it
// had it gone bad at each start in each way. Each of these keeps its own belief, because a baseline
// that has already grown used to the fault would hide it.
type track struct {
	scale   float64 // how much more than others devices of these labels usually fail
	healthy belief
	bad     [starts][ways]belief
	ratio   statistics
	usual   [memory]float32 // faults per step to expect, as predicted at each recent step
}

// tables are the emissions of one step.
type tables struct {
	healthy emission
	bad     [ways]emission
}

// tables returns the emissions of a step for devices of a scale.
func (h *hazard) tables(scale float64, at step) *tables {
	var t tables
	h.emit(&t.healthy, healthy, scale, at)
	for a, s := range h.shifts() {
		h.emit(&t.bad[a], s, scale, at)
	}
	return &t
}

// slotOf is where the statistics of a start are kept.
func slotOf(start int) int { return start % recent }

// rampOf is where a start goes when it leaves the recent ones, or -1.
func rampOf(start int) int {
	if start < 0 || start%week != 0 {
		return -1
	}
	return recent + start/week%ramp
}

// startOf is the start whose statistics slot s holds at step t.
func startOf(s, t int) int {
	if s < recent {
		return t - (t-s)%recent
	}
	start := (t - recent) / week * week
	for rampOf(start) != s {
		start -= week
	}
	return start
}

// age moves a track to step t, before the count is known, and notes the faults to expect.
func (k *track) age(h *hazard, t int) {
	k.healthy = h.predict(&k.healthy)
	if r := rampOf(t - recent); r >= 0 {
		from := slotOf(t - recent)
		k.bad[r] = k.bad[from]
		copy(k.ratio[r*ways:(r+1)*ways], k.ratio[from*ways:(from+1)*ways])
	}
	now := slotOf(t)
	for s := range k.bad {
		if s == now {
			continue
		}
		for a := range k.bad[s] {
			k.bad[s][a] = h.predict(&k.bad[s][a])
		}
	}
	for a := range k.bad[now] {
		k.bad[now][a] = k.healthy
		k.ratio[now*ways+a] = 0
	}
	expected := 0.0
	for j, p := range k.healthy {
		expected += p * h.rate[j] * k.scale
	}
	k.usual[t%memory] = float32(h.seen(expected))
}

// newTrack is a device of which no more is known than b, while healthy.
func newTrack(b belief, scale float64) *track {
	k := &track{healthy: b, scale: scale}
	for s := range k.bad {
		for a := range k.bad[s] {
			k.bad[s][a] = b
		}
	}
	return k
}

// see weighs the count of the step that age moved to.
func (k *track) see(e *tables, count int16) {
	if count < 0 {
		return
	}
	base := k.healthy.update(&e.healthy, count)
	for s := range k.bad {
		for a := range k.bad[s] {
			k.ratio[s*ways+a] += float32(k.bad[s][a].update(&e.bad[a], count) - base)
		}
	}
}
