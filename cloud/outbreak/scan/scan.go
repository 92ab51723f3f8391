// Package scan finds the cohort of a fleet that has gone bad: devices that share a model, a firmware, a
// region or two of these, and fail more than their own pasts explain. It does no I/O and knows no clock.
//
// How it decides, step by step (a step is a day unless the caller says otherwise):
//
//	counts -> fleet-wide factor divided out -> belief about each device -> log likelihood ratios
//	       -> summed over cohorts -> score -> threshold -> alarm
//
// A device is compared with itself. Its hidden hazard moves between a few levels with probabilities
// learned from the fleet's quiet past (see hazard), so a burst on a bursty device is no news and one
// fault on a device that never fails is. For each of the last seven steps, and three starts further back
// for what creeps up, the belief is carried on as if the device had gone bad then, in each of five ways:
// its own hazard multiplied, or a hazard added that hits healthy devices too. A cohort's evidence is the
// sum of its devices' log likelihood ratios, and its score the evidence averaged over starts and ways,
// times the cohort's share of prior suspicion (most of it is on what batches are made of). So a cohort that
// is too wide pays for its healthy devices, one that is too narrow leaves evidence behind, and the one that
// explains most is named.
//
// The threshold is the fleet's own: the quiet past is dealt out to shuffled cohorts, again and again,
// and the threshold is what these innocent cohorts exceed once in FalseAlarmEvery steps. That keeps
// everything the past is made of, bursts and correlations in time included, and breaks only the tie
// between a device's faults and its cohort, which is what an alarm claims.
//
// A missing count is not a zero: it leaves the belief about the device where the model takes it.
// What happens everywhere at once (a weekend, a change of the clocks, a broker restart) is divided out.
package scan

import (
	"fmt"
	"math"
	"slices"
)

// Missing is the count of a device that was not heard of in a step.
const Missing = -1

// Options configures a Detector. Dimensions is required.
type Options struct {
	Dimensions      []string // what the labels of a device mean, in order
	Batch           []int    // dimensions that a batch is made of, by index, such as model and firmware; nil means none
	Deeper          [][]int  // cohorts of three or more dimensions to watch too, by index; nil means none
	Learn           int      // quiet steps to learn from before the first alarm; 0 means 60, at least 28
	FalseAlarmEvery float64  // steps between two false alarms of the whole fleet; 0 means 90
	Smallest        int      // devices a cohort must have to be watched; 0 means 8
	Shuffles        int      // shuffled fleets the threshold is set on; 0 means 200
}

// Detector watches one fleet. It is not safe for concurrent use. The same calls give the same answers.
type Detector struct {
	opts   Options
	labels [][]string
	of     []int // track of each device
	tracks []*track
	part   *partition // nil when labels changed
	step   int        // steps seen

	past     [][]int16 // counts: all while learning, then of the last steps, by step % memory
	exposure []float64

	hazard    hazard
	usual     usual
	common    common
	threshold float64
	open      []openCohort
	held      int // steps that an alarm was held back for want of a name
	sums      sums
}

// memory is how many steps back a start under test can lie, the present one included.
const memory = recent + ramp*week

// New returns a detector that knows no device yet, or an error that names the option that is wrong.
func New(opts Options) (*Detector, error) {
	if opts.Learn == 0 {
		opts.Learn = 60
	}
	if opts.FalseAlarmEvery == 0 {
		opts.FalseAlarmEvery = 90
	}
	if opts.Smallest == 0 {
		opts.Smallest = 8
	}
	if opts.Shuffles == 0 {
		opts.Shuffles = 200
	}
	switch {
	case len(opts.Dimensions) == 0:
		return nil, fmt.Errorf("outbreak scan: Dimensions is empty")
	case opts.Learn < memory:
		return nil, fmt.Errorf("outbreak scan: Learn is %d steps, at least %d are needed", opts.Learn, memory)
	case !(opts.FalseAlarmEvery > 0) || math.IsInf(opts.FalseAlarmEvery, 0):
		return nil, fmt.Errorf("outbreak scan: FalseAlarmEvery is %v steps", opts.FalseAlarmEvery)
	case opts.Smallest < 1 || opts.Shuffles < 1:
		return nil, fmt.Errorf("outbreak scan: Smallest is %d and Shuffles %d; both must be positive", opts.Smallest, opts.Shuffles)
	}
	for _, i := range slices.Concat(slices.Concat(opts.Deeper...), opts.Batch) {
		if i < 0 || i >= len(opts.Dimensions) {
			return nil, fmt.Errorf("outbreak scan: Deeper or Batch names dimension %d of %d", i, len(opts.Dimensions))
		}
	}
	return &Detector{opts: opts}, nil
}

// Add makes a device known and returns its place in the counts from now on. labels holds one value per
// dimension, "" where it is not known. A device that is added late is judged by what devices of its labels are like at first sight.
func (d *Detector) Add(labels ...string) int {
	d.mustFit(labels)
	d.labels = append(d.labels, labels)
	d.of = append(d.of, 0)
	d.part = nil
	if d.Learned() {
		d.tracks = append(d.tracks, newTrack(d.hazard.first, d.usual.of(labels)))
		d.of[len(d.of)-1] = len(d.tracks) - 1
	}
	return len(d.of) - 1
}

// Move says that a device's labels changed: it was updated, or it went to another region. What it did
// before is held against neither cohort. A call that changes nothing does nothing.
func (d *Detector) Move(device int, labels ...string) {
	d.mustFit(labels)
	if slices.Equal(d.labels[device], labels) {
		return
	}
	d.labels[device] = labels
	d.part = nil
	if d.Learned() {
		d.tracks = append(d.tracks, newTrack(d.tracks[d.of[device]].healthy, d.usual.of(labels)))
		d.of[device] = len(d.tracks) - 1
	}
}

func (d *Detector) mustFit(labels []string) {
	if len(labels) != len(d.opts.Dimensions) {
		panic(fmt.Sprintf("outbreak scan: %d labels for %d dimensions", len(labels), len(d.opts.Dimensions)))
	}
}

// Learned reports whether the learning period is over.
func (d *Detector) Learned() bool { return d.step >= d.opts.Learn }

// Threshold is the score an alarm needs; 0 while learning.
func (d *Detector) Threshold() float64 { return d.threshold }

// Observe takes the next step: the faults of each device, in the order of Add, with Missing for a device
// that was not heard of and for those past the end of counts. exposure is the length of the step (1 is a
// whole one; a day that is half over has 0.5). It returns the alarms the step raises, the most suspect
// cohort first. While an alarm is open its devices raise no further one.
func (d *Detector) Observe(counts []int16, exposure float64) ([]Alarm, error) {
	if len(counts) > len(d.of) {
		return nil, fmt.Errorf("outbreak scan: counts of %d devices, %d are known", len(counts), len(d.of))
	}
	if !(exposure > 0) || math.IsInf(exposure, 0) {
		return nil, fmt.Errorf("outbreak scan: exposure %v is not positive", exposure)
	}
	if d.part == nil {
		d.part = cut(d.labels, &d.opts)
	}
	row := make([]int16, len(d.of))
	for i := range row {
		row[i] = Missing
		if i < len(counts) && counts[i] >= 0 {
			row[i] = min(counts[i], maxCount)
		}
	}
	t := d.step
	d.step++
	switch {
	case t < d.opts.Learn-1:
		d.past = append(d.past, row)
		d.exposure = append(d.exposure, exposure)
		return nil, nil
	case t == d.opts.Learn-1:
		d.past = append(d.past, row)
		d.exposure = append(d.exposure, exposure)
		d.learn()
		return nil, nil
	}
	d.past[t%memory], d.exposure[t%memory] = row, exposure
	d.age(t)
	d.see(row, d.common.step(d, row, exposure))
	return d.judge(t), nil
}

// learn fits the hazard to the quiet past, relives it, and sets the threshold. From then on only the last
// steps are kept.
func (d *Detector) learn() {
	devices := len(d.of)
	for t, row := range d.past { // devices added on the way were not heard of before
		for len(row) < devices {
			row = append(row, Missing)
		}
		d.past[t] = row
	}
	d.usual = learnUsual(d)
	scales := make([]float64, devices)
	for i, l := range d.labels {
		scales[i] = d.usual.of(l)
	}
	d.hazard = learn(d.past, d.exposure, scales)
	if factors, moved := d.common.learn(d); moved {
		// The fleet has days of its own: learn again with them divided out.
		for t := range factors {
			factors[t] *= d.exposure[t]
		}
		d.hazard = learn(d.past, factors, scales)
	}
	var quiet [][]statistics
	d.relive(func(t int, row []int16) {
		d.see(row, d.common.step(d, row, d.exposure[t]))
		if t < warm {
			return
		}
		stats := make([]statistics, devices)
		for i := range stats {
			stats[i] = d.tracks[d.of[i]].ratio
		}
		quiet = append(quiet, stats)
	})
	d.threshold = d.calibrate(quiet)

	last, exposure := make([][]int16, memory), make([]float64, memory)
	for t := len(d.past) - memory; t < len(d.past); t++ {
		last[t%memory], exposure[t%memory] = d.past[t], d.exposure[t]
	}
	d.past, d.exposure = last, exposure
}

// relive starts all tracks anew and goes through the learning period.
func (d *Detector) relive(step func(t int, row []int16)) {
	d.tracks = nil
	index := map[float64]int{}
	for i, l := range d.labels {
		scale := d.usual.of(l)
		k, ok := index[scale]
		if !ok {
			k = len(d.tracks)
			index[scale] = k
			d.tracks = append(d.tracks, newTrack(d.hazard.first, scale))
		}
		d.of[i] = k
	}
	for t, row := range d.past {
		d.age(t)
		step(t, row)
	}
}

// age moves all tracks to step t.
func (d *Detector) age(t int) {
	d.each(func(k int) { d.tracks[k].age(&d.hazard, t) })
}

// see weighs a step's counts. Devices that were alike so far share one track until their counts part
// them, so a fleet that is mostly quiet costs little.
func (d *Detector) see(row []int16, s step) {
	type fork struct {
		from  int
		count int16
	}
	index := map[fork]int{}
	var forks []fork
	uses := make([]int, len(d.tracks))
	for i, from := range d.of {
		f := fork{from, row[i]}
		n, ok := index[f]
		if !ok {
			n = len(forks)
			index[f] = n
			forks = append(forks, f)
			uses[from]++
		}
		d.of[i] = n
	}
	next := make([]*track, len(forks))
	for n, f := range forks {
		next[n] = d.tracks[f.from]
		if uses[f.from] > 1 {
			c := *next[n]
			next[n] = &c
		}
	}
	d.tracks = next
	e := map[float64]*tables{}
	for _, k := range next {
		if e[k.scale] == nil {
			e[k.scale] = d.hazard.tables(k.scale, s)
		}
	}
	d.each(func(k int) { next[k].see(e[next[k].scale], forks[k].count) })
}

// each runs f on the index of every track, on all processors.
func (d *Detector) each(f func(k int)) {
	const chunk = 32
	n := len(d.tracks)
	parallel((n+chunk-1)/chunk, func(c int) {
		for k := c * chunk; k < min((c+1)*chunk, n); k++ {
			f(k)
		}
	})
}
