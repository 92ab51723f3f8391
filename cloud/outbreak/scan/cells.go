package scan

import (
	"fmt"
	"math"
	"slices"
)

// Any stands for every value of a dimension.
const Any = "*"

// Cohort is one value for each dimension, or Any.
type Cohort []string

// Contains reports whether a device with these labels belongs to the cohort.
func (c Cohort) Contains(labels []string) bool {
	for i, v := range c {
		if v != Any && labels[i] != v {
			return false
		}
	}
	return true
}

// nested reports whether one of the two cohorts lies within the other.
func (c Cohort) nested(o Cohort) bool { return c.within(o) || o.within(c) }

func (c Cohort) within(o Cohort) bool {
	for i, v := range o {
		if v != Any && c[i] != v {
			return false
		}
	}
	return true
}

// cell is a cohort under watch.
type cell struct {
	cohort  Cohort
	dims    int // that are not Any
	devices int
	prior   float64 // log of its share of suspicion before anything is seen
}

// partition is the fleet cut up: strata of devices alike in every dimension, and the cells, each a sum of strata.
type partition struct {
	stratum []int   // of each device
	member  [][]int // cells of each stratum
	cells   []cell
	strata  int
	dims    int
}

// cut makes the cells of one and two dimensions, and those of the named deeper subsets, that hold at
// least smallest devices. Suspicion is shared among the kinds of cell (see weigh), then evenly among the
// cells of a kind: a region is not the less suspect for there being many pairs of model and firmware. An empty
// label is not known; such a device is in no cohort of that dimension. A cell with the same devices as one
// before it adds nothing but doubt about the name, and is left out; so is one with the whole fleet.
func cut(labels [][]string, o *Options) *partition {
	p := &partition{stratum: make([]int, len(labels)), dims: len(o.Dimensions)}
	strata := map[string]int{}
	var distinct [][]string
	var devices []int // of each stratum
	for d, l := range labels {
		k := key(l)
		s, ok := strata[k]
		if !ok {
			s = len(distinct)
			strata[k] = s
			distinct = append(distinct, l)
			devices = append(devices, 0)
		}
		p.stratum[d] = s
		devices[s]++
	}
	p.strata = len(distinct)
	p.member = make([][]int, p.strata)

	kinds := kinds(p.dims, o.Deeper)
	weights := weigh(kinds, o.Batch)
	seen := map[string]bool{} // sets of strata that have a cell
	whole := make([]int, p.strata)
	for s := range whole {
		whole[s] = s
	}
	seen[fmt.Sprint(whole)] = true
	for k, kind := range kinds {
		index := map[string]int{}
		var found []cell
		var of [][]int // strata of each
		for s, l := range distinct {
			c, known := cohortOf(l, kind)
			if !known {
				continue
			}
			i, ok := index[key(c)]
			if !ok {
				i = len(found)
				index[key(c)] = i
				found = append(found, cell{cohort: c, dims: len(kind)})
				of = append(of, nil)
			}
			found[i].devices += devices[s]
			of[i] = append(of[i], s)
		}
		first := len(p.cells)
		for i, c := range found {
			if set := fmt.Sprint(of[i]); c.devices >= o.Smallest && !seen[set] {
				seen[set] = true
				for _, s := range of[i] {
					p.member[s] = append(p.member[s], len(p.cells))
				}
				p.cells = append(p.cells, c)
			}
		}
		for i := first; i < len(p.cells); i++ {
			p.cells[i].prior = math.Log(weights[k]) - math.Log(float64(len(p.cells)-first))
		}
	}
	return p
}

// everyone is the cohort of the whole fleet.
func everyone(dims int) Cohort {
	c := make(Cohort, dims)
	for i := range c {
		c[i] = Any
	}
	return c
}

// cohortOf is the cell of a kind that a device with these labels is in; known is false where a label is missing.
func cohortOf(labels []string, kind []int) (c Cohort, known bool) {
	c, known = everyone(len(labels)), true
	for _, i := range kind {
		c[i] = labels[i]
		known = known && labels[i] != ""
	}
	return c, known
}

// batches is the share of suspicion on pairs of dimensions that batches are made of, such as a firmware on
// a model: that is how devices go bad together. The rest is on all else.
const batches = 0.75

// weigh shares suspicion among kinds of cell.
func weigh(kinds [][]int, batch []int) []float64 {
	w := make([]float64, len(kinds))
	made := 0
	for i, k := range kinds {
		if len(k) == 2 && slices.Contains(batch, k[0]) && slices.Contains(batch, k[1]) {
			w[i] = 1
			made++
		}
	}
	for i := range w {
		switch {
		case made == 0 || made == len(kinds):
			w[i] = 1 / float64(len(kinds))
		case w[i] == 1:
			w[i] = batches / float64(made)
		default:
			w[i] = (1 - batches) / float64(len(kinds)-made)
		}
	}
	return w
}

func kinds(dims int, deeper [][]int) [][]int {
	var k [][]int
	for i := range dims {
		k = append(k, []int{i})
	}
	for i := range dims {
		for j := i + 1; j < dims; j++ {
			k = append(k, []int{i, j})
		}
	}
	return append(k, deeper...)
}

func key(labels []string) string {
	n := 0
	for _, l := range labels {
		n += len(l) + 1
	}
	b := make([]byte, 0, n)
	for _, l := range labels {
		b = append(append(b, l...), 0)
	}
	return string(b)
}

// sums are reused between steps.
type sums struct{ strata, cells []statistics }

// gather adds the devices' statistics up into cells. place maps a device to the device whose cohorts it
// takes (nil for its own); out leaves devices out (nil for none).
func (p *partition) gather(s *sums, place []int, out []bool, ratio func(device int) *statistics) {
	s.strata = zeroed(s.strata, p.strata)
	s.cells = zeroed(s.cells, len(p.cells))
	for d := range p.stratum {
		if out != nil && out[d] {
			continue
		}
		at := d
		if place != nil {
			at = place[d]
		}
		s.strata[p.stratum[at]].add(ratio(d))
	}
	for i := range s.strata {
		for _, c := range p.member[i] {
			s.cells[c].add(&s.strata[i])
		}
	}
}

func zeroed(s []statistics, n int) []statistics {
	if cap(s) < n {
		return make([]statistics, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// score is the log of the evidence for "some start, some way" in a cell, averaged evenly over both.
// Below floor the exact value does not matter, and a bound is returned.
func (s *statistics) score(floor float64) float64 {
	top := s[0]
	for _, v := range s[1:] {
		top = max(top, v)
	}
	if float64(top) < floor {
		return float64(top)
	}
	sum := 0.0
	for _, v := range s {
		if d := v - top; d > -12 {
			sum += math.Exp(float64(d))
		}
	}
	return float64(top) + math.Log(sum/float64(len(s)))
}
