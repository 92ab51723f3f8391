package outbreak

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud/outbreak/scan"
	"github.com/hearthline/hearthline/cloud/store"
)

// fleet is what a scan looks at: every device's counts, step by step.
type fleet struct {
	first  int64 // step of counts[0]
	names  []member
	index  map[[2]string]int
	counts [][]int16 // [step][device], scan.Missing where nothing can be said
	rows   map[int][]day
	filled float64 // part of the last step that is over
}

// load reads the steps that a scan covers.
func (o *Outbreak) load(ctx context.Context, tenant string, now time.Time) (*fleet, error) {
	last := o.stepOf(now)
	f := &fleet{index: map[[2]string]int{}, rows: map[int][]day{}}
	f.filled = float64(now.Sub(o.timeOf(last))) / float64(o.opts.Step)
	if f.filled < soonest {
		last, f.filled = last-1, 1
	}
	f.first = last - int64(o.opts.Learn+o.opts.Watch) + 1
	var rows []day
	err := o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		f.names, rows = nil, nil
		for m, err := range members.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			f.names = append(f.names, m)
		}
		for d, err := range days.Scan(tx, store.Range{Index: "by_step", From: f.first, To: last + 1}) {
			if err != nil {
				return err
			}
			rows = append(rows, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// History begins with the first row: before it nobody counted.
	if len(rows) == 0 {
		return f, nil
	}
	f.first = max(f.first, rows[0].Step)
	var incidents []Incident
	if o.opts.Incidents != nil {
		if incidents, err = o.opts.Incidents.During(ctx, tenant, o.timeOf(f.first), now); err != nil {
			return nil, err
		}
	}
	for i, m := range f.names {
		f.index[[2]string{m.Home, m.Device}] = i
	}
	f.counts = make([][]int16, last-f.first+1)
	for t := range f.counts {
		f.counts[t] = make([]int16, len(f.names))
		for i, m := range f.names {
			step := f.first + int64(t)
			if step <= m.Spans[0].From || m.Gone != 0 && step >= m.Gone {
				f.counts[t][i] = scan.Missing // not there yet, being set up, or gone
			}
			for _, s := range m.Spans[1:] {
				if step == s.From {
					f.counts[t][i] = scan.Missing // the day of an update
				}
			}
		}
	}
	for _, d := range rows {
		i, ok := f.index[[2]string{d.Home, d.Device}]
		if !ok {
			continue // not in the roster yet: the next scan will know it
		}
		what := f.what(i, d.Step)
		n := 0
		for _, at := range slices.Concat(d.Faults, d.Contacts) {
			if !slices.ContainsFunc(incidents, func(in Incident) bool { return in.explains(what, at) }) {
				n++
			}
		}
		c := &f.counts[d.Step-f.first][i]
		switch {
		case d.Silent && n == 0:
			*c = scan.Missing
		case *c >= 0:
			*c = int16(min(n, math.MaxInt16))
		}
		if n > 0 {
			f.rows[i] = append(f.rows[i], d)
		}
	}
	return f, nil
}

func (in Incident) explains(what Cohort, at time.Time) bool {
	return !at.Before(in.From) && !at.After(in.To) &&
		(in.Region == "" || in.Region == what.Region) && (in.ISP == "" || in.ISP == what.ISP)
}

// what is what a device was in a step.
func (f *fleet) what(device int, step int64) Cohort {
	spans := f.names[device].Spans
	w := spans[0].What
	for _, s := range spans[1:] {
		if s.From <= step {
			w = s.What
		}
	}
	return w
}

// quiet is a row to learn from, without the cohorts that were known to be bad.
func (f *fleet) quiet(row []int16, step int64, known []Problem, o *Outbreak) []int16 {
	out := slices.Clone(row)
	for _, p := range known {
		if step < o.stepOf(p.Since) || p.Closed != nil && step > o.stepOf(*p.Closed) {
			continue
		}
		for i := range out {
			if p.Cohort.Contains(f.what(i, step)) {
				out[i] = scan.Missing
			}
		}
	}
	return out
}
