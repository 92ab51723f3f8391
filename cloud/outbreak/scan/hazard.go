package scan

import (
	"math"
	"runtime"
	"sync"
)

const (
	states   = 8  // levels a device's hazard can be at
	maxCount = 31 // counts above are cut: by then the level says all there is to say
)

// belief is the probability of each level of one device's hidden hazard.
type belief [states]float64

// hazard is what the fleet's past says about a healthy device: faults come at one of a few daily
// rates, and the rate moves from one step to the next. Busy devices, quiet ones, and quiet ones that
// have a bad week all come out of the same chain, so a burst is expected where bursts are usual and a
// surprise where they are not. It is a hidden Markov model with Poisson counts (Rabiner 1989).
type hazard struct {
	rate   [states]float64
	first  belief
	move   [states][states]float64 // move[i][j]: from level i to level j in one step
	mean   float64                 // faults per device and step
	faults float64                 // it was learned from
	binary bool                    // no device ever showed two faults in a step: a count says yes or no
}

// shift is a way to go bad: every hazard is multiplied by times, then plus is added.
type shift struct{ times, plus float64 }

var healthy = shift{times: 1}

// emission holds the probability of each count at each level under one shift.
type emission [maxCount + 1]belief

// step is what is the same for the whole fleet in a step.
type step struct {
	exposure float64 // its length times the fleet-wide factor
	common   float64 // faults that every device may show on top
}

// emit fills e for devices that usually fail scale times as much as others.
func (h *hazard) emit(e *emission, s shift, scale float64, at step) {
	for j := range h.rate {
		m := (h.rate[j]*scale*s.times+s.plus)*at.exposure + at.common
		if h.binary {
			e[0][j] = math.Exp(-m)
			for y := 1; y <= maxCount; y++ {
				e[y][j] = 1 - e[0][j]
			}
			continue
		}
		p, sum := math.Exp(-m), 0.0
		for y := 0; y < maxCount; y++ {
			e[y][j] = p
			sum += p
			p *= m / float64(y+1)
		}
		e[maxCount][j] = max(1-sum, 1e-12)
	}
}

// seen is the count to expect where mean faults happen.
func (h *hazard) seen(mean float64) float64 {
	if h.binary {
		return 1 - math.Exp(-mean)
	}
	return mean
}

// predict moves a belief one step ahead.
func (h *hazard) predict(b *belief) belief {
	var next belief
	for i, p := range b {
		if p < 1e-9 {
			continue
		}
		row := &h.move[i]
		for j := range next {
			next[j] += p * row[j]
		}
	}
	return next
}

// update weighs a predicted belief by what was seen and returns the log probability of seeing it.
// A missing count (below zero) leaves the belief as predicted: silence is not calm.
func (b *belief) update(e *emission, count int16) float64 {
	if count < 0 {
		return 0
	}
	row := &e[min(count, maxCount)]
	sum := 0.0
	for j := range b {
		b[j] *= row[j]
		sum += b[j]
	}
	inv := 1 / sum
	for j := range b {
		b[j] *= inv
	}
	return math.Log(sum)
}

// tally gathers the expected moves and counts of one pass of expectation maximisation.
type tally struct {
	first  belief
	move   [states][states]float64
	seen   belief // expected exposure at each level
	faults belief // expected faults at each level
}

const (
	// passes of expectation maximisation. On days that were kept back, more of them explain bursty fleets a
	// little better and quiet ones a little worse.
	passes = 12

	// A device starts as one that mostly stays what it is, and the past has to argue it out of that. Started
	// from 0.9, the kept-back days of quiet fleets come out distinctly less likely.
	staying = 0.99
)

// learn fits the hazard to counts[step][device] with the given exposures, to devices of the given scales.
func learn(counts [][]int16, exposure, scale []float64) hazard {
	h := begin(counts, exposure, scale)
	if h.faults == 0 {
		return h
	}
	devices := sample(len(counts[0]), 1200)
	for range passes {
		h.improve(counts, exposure, scale, devices)
	}
	return h
}

// begin is where learning starts from: levels around the mean, none likelier than another.
func begin(counts [][]int16, exposure, scale []float64) hazard {
	var total, seen float64
	var top int16
	for t, row := range counts {
		for d, y := range row {
			if y >= 0 {
				total += float64(min(y, maxCount))
				seen += exposure[t] * scale[d]
				top = max(top, y)
			}
		}
	}
	h := hazard{mean: (total + 0.5) / (seen + 1), faults: total, binary: top == 1}
	for j := range h.rate {
		// From a sixtieth of the mean to thirty times it, evenly in the logarithm.
		h.rate[j] = h.mean / 60 * math.Pow(2000, float64(j)/(states-1))
		h.first[j] = 1.0 / states
		for i := range h.move {
			h.move[i][j] = (1 - staying) / (states - 1)
			if i == j {
				h.move[i][j] = staying
			}
		}
	}
	return h
}

// sample picks at most n of the first total integers, evenly.
func sample(total, n int) []int {
	n = min(n, total)
	s := make([]int, n)
	for i := range s {
		s[i] = i * total / n
	}
	return s
}

// improve is one pass of Baum-Welch. Its sums are added in a fixed order, so a fit is reproducible.
func (h *hazard) improve(counts [][]int16, exposure, scale []float64, devices []int) {
	tables := map[float64][]emission{}
	for _, d := range devices {
		if s := scale[d]; tables[s] == nil {
			tables[s] = make([]emission, len(counts))
			for t := range counts {
				h.emit(&tables[s][t], healthy, s, step{exposure: exposure[t]})
			}
		}
	}
	const parts = 8
	sums := make([]tally, parts)
	parallel(parts, func(k int) {
		ahead := make([]belief, len(counts))
		for n := k; n < len(devices); n += parts {
			d := devices[n]
			h.expect(&sums[k], counts, exposure, scale[d], tables[scale[d]], d, ahead)
		}
	})
	all := sums[0]
	for _, s := range sums[1:] {
		for i := range all.first {
			all.first[i] += s.first[i]
			all.seen[i] += s.seen[i]
			all.faults[i] += s.faults[i]
			for j := range all.move[i] {
				all.move[i][j] += s.move[i][j]
			}
		}
	}
	// A little is added to every move, so that what the past did not show stays possible.
	h.first = normal(all.first, 1)
	for i := range h.move {
		h.move[i] = normal(all.move[i], 0.2)
		h.rate[i] = max((all.faults[i]+0.5*h.mean)/(all.seen[i]+0.5), h.mean/1000)
	}
}

func normal(b belief, plus float64) belief {
	sum := 0.0
	for i := range b {
		b[i] += plus
		sum += b[i]
	}
	for i := range b {
		b[i] /= sum
	}
	return b
}

// expect runs forward and backward over one device.
func (h *hazard) expect(s *tally, counts [][]int16, exposure []float64, scale float64, tables []emission, d int, ahead []belief) {
	b := h.first
	for t := range counts {
		if t > 0 {
			b = h.predict(&b)
		}
		b.update(&tables[t], counts[t][d])
		ahead[t] = b
	}
	var back belief
	for j := range back {
		back[j] = 1
	}
	for t := len(counts) - 1; t >= 0; t-- {
		post := ahead[t]
		for j := range post {
			post[j] *= back[j]
		}
		post = normal(post, 0)
		if y := counts[t][d]; y >= 0 {
			for j := range post {
				s.seen[j] += post[j] * exposure[t] * scale
				s.faults[j] += post[j] * float64(min(y, maxCount))
			}
		}
		if t == 0 {
			for j := range post {
				s.first[j] += post[j]
			}
			return
		}
		weigh := back
		if y := counts[t][d]; y >= 0 {
			row := &tables[t][min(y, maxCount)]
			for j := range weigh {
				weigh[j] *= row[j]
			}
		}
		prev, sum := &ahead[t-1], 0.0
		var earlier belief
		for i := range earlier {
			row := &h.move[i]
			for j := range weigh {
				earlier[i] += row[j] * weigh[j]
			}
			sum += prev[i] * earlier[i]
		}
		inv := 1 / sum
		for i := range earlier {
			p := prev[i] * inv
			for j := range weigh {
				s.move[i][j] += p * h.move[i][j] * weigh[j]
			}
			earlier[i] *= inv
		}
		back = earlier
	}
}

// parallel runs f(0) .. f(n-1) on all processors and waits.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
