package outbreak

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
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

// soonest is the part of a step that must be over before it is looked at.
const soonest = 0.25

// hasty is how much higher an alarm must score in a step that is not over: such a step is looked at many
// times, and each look is a chance to err. What is real passes it a few looks later, or at the step's end.
const hasty = math.Ln2

// Scan looks for cohorts that have gone bad, opens and updates problems, links homes and tickets, and
// closes what is over. It may be repeated at will.
func (o *Outbreak) Scan(ctx context.Context, tenant string) error {
	select {
	case o.kicked <- struct{}{}:
		defer func() { <-o.kicked }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now := o.opts.Now().UTC()
	p, err := o.progress(ctx, tenant)
	if err != nil {
		return fmt.Errorf("scan for outbreaks: %w", err)
	}
	if err := o.call(ctx, tenant, p, now); err != nil {
		return fmt.Errorf("scan for outbreaks: call the roll: %w", err)
	}
	f, err := o.load(ctx, tenant, now)
	if err != nil {
		return fmt.Errorf("scan for outbreaks: load: %w", err)
	}
	open, err := o.opened(ctx, tenant)
	if err != nil {
		return fmt.Errorf("scan for outbreaks: %w", err)
	}
	if len(f.counts) > o.opts.Learn {
		if open, err = o.look(ctx, tenant, f, open, p.Scanned, now); err != nil {
			return fmt.Errorf("scan for outbreaks: %w", err)
		}
	}
	for _, problem := range open {
		if err := o.follow(ctx, tenant, f, problem, now); err != nil {
			return fmt.Errorf("follow problem %s: %w", problem.ID, err)
		}
	}
	if err := o.forget(ctx, tenant, f.first); err != nil {
		return fmt.Errorf("scan for outbreaks: forget: %w", err)
	}
	return o.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		return scans.Put(tx, &progress{Name: "fleet", Roster: o.stepOf(now), Scanned: o.stepOf(now)})
	})
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

// look runs the detector over the fleet and turns alarms that are news into problems. It returns all open problems.
func (o *Outbreak) look(ctx context.Context, tenant string, f *fleet, open []Problem, scanned int64, now time.Time) ([]Problem, error) {
	known, err := o.knownBad(ctx, tenant)
	if err != nil {
		return nil, err
	}
	d, err := o.detector()
	if err != nil {
		return nil, err
	}
	for i := range f.names {
		d.Add(f.what(i, f.first).labels()...)
	}
	var all []scan.Alarm
	for t, row := range f.counts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		step := f.first + int64(t)
		for i, m := range f.names {
			for _, s := range m.Spans[1:] {
				if s.From == step {
					d.Move(i, s.What.labels()...)
				}
			}
		}
		if t < o.opts.Learn {
			row = f.quiet(row, step, known, o)
		}
		exposure := 1.0
		if t == len(f.counts)-1 {
			exposure = f.filled
		}
		alarms, err := d.Observe(row, exposure)
		if err != nil {
			return nil, err
		}
		all = append(all, alarms...)
	}
	lasting := d.Open()
	for _, a := range all {
		// An alarm of a step that an earlier scan has looked at is news only if it lasts: faults that a hub
		// reported late can raise it after the fact.
		lasts := slices.ContainsFunc(lasting, func(c scan.Cohort) bool { return slices.Equal(c, a.Cohort) })
		if f.first+int64(a.Step) < scanned && !lasts {
			continue
		}
		if a.Step == len(f.counts)-1 && f.filled < 1 && a.Score < d.Threshold()+hasty {
			continue
		}
		if open, err = o.raise(ctx, tenant, f, a, d.Threshold(), open, known, now); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// knownBad lists the problems of old: what is learned from must be quiet.
func (o *Outbreak) knownBad(ctx context.Context, tenant string) (all []Problem, err error) {
	err = o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		all = nil
		for p, err := range problems.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		return nil
	})
	return all, err
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

// raise makes an alarm a problem, unless one with a cohort within or around its own covers it: one that is
// open, or that was over after the alarm's step.
func (o *Outbreak) raise(ctx context.Context, tenant string, f *fleet, a scan.Alarm, threshold float64, open, known []Problem, now time.Time) ([]Problem, error) {
	c := cohortOf(a.Cohort)
	for _, p := range slices.Concat(open, known) {
		if p.Cohort.nested(c) && (p.Closed == nil || p.Closed.After(o.timeOf(f.first+int64(a.Step)))) {
			return open, nil
		}
	}
	p := Problem{
		ID: cloud.NewID(), State: Open, Cohort: c, Opened: now,
		Since: o.timeOf(f.first + int64(a.Since)),
		Evidence: Evidence{
			Devices: a.Devices, Score: 1 + (a.Score-threshold)/math.Ln10, Confidence: a.Confidence, Worsens: a.Times > 1,
		},
	}
	o.measure(f, &p, now)
	err := o.opts.DB.Update(ctx, tenant, func(tx store.Tx) error { return problems.Insert(tx, &p) })
	if err != nil {
		return nil, err
	}
	o.opts.Log.Info("outbreak found", "tenant", tenant, "problem", p.ID, "devices", p.Evidence.Devices,
		"observed", p.Evidence.Observed, "expected", p.Evidence.Expected)
	return append(open, p), nil
}

func cohortOf(c scan.Cohort) Cohort {
	l := slices.Clone(c)
	for i, v := range l {
		if v == scan.Any {
			l[i] = ""
		}
	}
	return Cohort{l[0], l[1], l[2], l[3], l[4]}
}

// context of the evidence: steps shown before the problem began.
const before = 14

// measure fills in what was seen of a problem's cohort, against its own past, and returns its victims:
// of each device that failed since it began, the first step with a fault.
func (o *Outbreak) measure(f *fleet, p *Problem, now time.Time) []day {
	began := o.stepOf(p.Since)
	var victims []day
	ev := &p.Evidence
	ev.Devices, ev.Faulty, ev.Observed, ev.Expected, ev.Daily, ev.To = 0, 0, 0, 0, nil, now
	daily := make([]Daily, len(f.counts))
	quiet, heard := 0.0, 0.0 // before it began
	for i := range f.names {
		if p.Cohort.Contains(f.what(i, f.first+int64(len(f.counts))-1)) && f.names[i].Gone == 0 {
			ev.Devices++
		}
		for t, row := range f.counts {
			step := f.first + int64(t)
			if row[i] < 0 || !p.Cohort.Contains(f.what(i, step)) {
				continue
			}
			daily[t].Observed += int(row[i])
			daily[t].Heard++
			if step < began {
				quiet += float64(row[i])
				heard++
			}
		}
		for _, d := range f.rows[i] {
			if d.Step >= began && p.Cohort.Contains(f.what(i, d.Step)) {
				victims = append(victims, d)
				ev.Faulty++
				break
			}
		}
	}
	rate := (quiet + 0.5) / (heard + 1)
	for t := range daily {
		step := f.first + int64(t)
		length := 1.0
		if t == len(daily)-1 {
			length = f.filled
		}
		daily[t].At = o.timeOf(step)
		daily[t].Expected = rate * float64(daily[t].Heard) * length
		if step >= began {
			ev.Observed += daily[t].Observed
			ev.Expected += daily[t].Expected
		}
		if step >= began-before {
			ev.Daily = append(ev.Daily, daily[t])
		}
	}
	return victims
}

// follow brings an open problem up to date: its evidence, its homes and tickets, and its end.
func (o *Outbreak) follow(ctx context.Context, tenant string, f *fleet, p Problem, now time.Time) error {
	was := p.Evidence
	victims := o.measure(f, &p, now)
	if err := o.link(ctx, tenant, p, victims); err != nil {
		return err
	}
	over := calm(p.Evidence.Daily, p.Since, f.filled < 1)
	if o.stepOf(p.Since) < f.first {
		p.Evidence = was // the beginning is out of sight by now, and with it what the problem was
	}
	err := o.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		stored, err := problems.Get(tx, p.ID)
		if err != nil || stored.State == Closed {
			return err
		}
		homes := map[string]bool{}
		p.Tickets = 0
		for a, err := range affected.Scan(tx, store.Range{Index: "by_problem", Prefix: store.Key{p.ID}}) {
			if err != nil {
				return err
			}
			homes[a.Home] = true
			p.Tickets += len(a.Tickets)
		}
		p.Homes = len(homes)
		return problems.Put(tx, &p)
	})
	if err != nil || !over {
		return err
	}
	return o.over(ctx, tenant, p)
}

// calmFor is how many steps a cohort must have been as before, taken together, until its problem is over.
const calmFor = 7

// calm reports whether the last steps that are over show less than a quarter of the excess of the worst
// as many since the problem began, or no more than chance allows. Steps in which nobody of the cohort was
// heard of say nothing, so nothing has calmed down.
func calm(daily []Daily, began time.Time, unfinished bool) bool {
	if unfinished {
		daily = daily[:len(daily)-1]
	}
	for len(daily) > 0 && daily[0].At.Before(began) {
		daily = daily[1:]
	}
	if len(daily) < calmFor {
		return false
	}
	worst, last, expected := 0.0, 0.0, 0.0
	for end := calmFor; end <= len(daily); end++ {
		last, expected = 0, 0
		for _, d := range daily[end-calmFor : end] {
			last += float64(d.Observed) - d.Expected
			expected += d.Expected
		}
		worst = max(worst, last)
	}
	for _, d := range daily[len(daily)-calmFor:] {
		if d.Heard == 0 {
			return false
		}
	}
	return last <= max(worst/4, 2*math.Sqrt(expected))
}
