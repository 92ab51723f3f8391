package outbreak

import (
	"context"
	"math"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

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
