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

// calmFor is how many steps a cohort must have been as before, taken together, until its problem is over.
const calmFor = 7
