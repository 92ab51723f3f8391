package predict

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// pass is one look at what became of a version's predictions in a time, and how far it has come.
type pass struct {
	Name    string       `json:"name"`
	Version int64        `json:"version"`
	Stage   time.Time    `json:"stage"`   // the record's StagedAt that it belongs to
	Against int64        `json:"against"` // version that it is compared with; itself when there is none
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Model   string       `json:"model"` // hubs that score by this one are of interest;
	Share   float64      `json:"share"` // this share of them is looked at
	Fleet   int          `json:"fleet"` // hubs there are in all
	After   store.Cursor `json:"after"` // hubs up to here are in Sum
	Turn    int          `json:"turn"`  // counts the commits
	Sum     Tally        `json:"sum"`
}

var passes = store.NewTable("predict_passes", store.Spec[pass]{
	Key:   store.Columns{store.Text("name"), store.Int("version")},
	KeyOf: func(p *pass) store.Key { return store.Key{p.Name, p.Version} },
})

// stored returns a version's pass as it is kept, the zero pass when none is.
func stored(tx store.Tx, name string, version int64) (pass, error) {
	p, err := passes.Get(tx, name, version)
	if errors.Is(err, store.ErrNotFound) {
		return pass{}, nil
	}
	return p, err
}

// same reports whether nobody has touched the pass between two looks.
func (p *pass) same(o *pass) bool {
	return p.Stage.Equal(o.Stage) && p.Turn == o.Turn && p.From.Equal(o.From)
}

// sight is what one step works with.
type sight struct {
	pass
	was            pass // as it is kept
	hubs           []Hub
	next           store.Cursor // "" when these are the last
	model, against *risk.Model
}

// step takes the pass that is under way, or due, a few hubs further. more is false when there is nothing to do.
func (r *Rollout) step(ctx context.Context, tenant string) (more bool, err error) {
	var s *sight
	err = r.opts.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
		s, err = r.turn(tx)
		return err
	})
	if err != nil || s == nil {
		return false, err
	}
	sum, err := r.look(ctx, tenant, s)
	if err != nil {
		return false, err
	}
	return true, r.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		now, err := stored(tx, s.Name, s.Version)
		if err != nil {
			return err
		}
		rec, err := models.Get(tx, s.Name, s.Version)
		if err != nil || !now.same(&s.was) || !rec.StagedAt.Equal(s.Stage) {
			return err // another instance has taken it further, or a person has changed its state
		}
		p := s.pass
		p.Sum, p.After, p.Turn = p.Sum.plus(sum, 1), s.next, p.Turn+1
		if p.After != "" {
			return passes.Put(tx, &p)
		}
		if now.Name != "" {
			if err := passes.Delete(tx, p.Name, p.Version); err != nil {
				return err
			}
		}
		return r.conclude(tx, p, rec)
	})
}

// turn finds what is to be looked at: what is rolling, else a candidate, and what is in use; nil for nothing.
func (r *Rollout) turn(tx store.Tx) (*sight, error) {
	c, err := r.opts.Registry.choice(tx, r.opts.Name)
	if err != nil {
		return nil, err
	}
	candidate, isCandidate, err := r.opts.Registry.find(tx, r.opts.Name, Candidate)
	if err != nil {
		return nil, err
	}
	old, isOld, err := r.opts.Registry.find(tx, r.opts.Name, Retired)
	if err != nil {
		return nil, err
	}
	if !isOld {
		old = c.active
	}
	for _, x := range []struct {
		rec, against Record
		ok           bool
	}{{c.rolling, c.active, c.isRolling}, {candidate, c.active, isCandidate && !c.isRolling}, {c.active, old, c.isActive}} {
		if !x.ok {
			continue
		}
		s, err := r.begun(tx, &x.rec, &x.against)
		if s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

// begun returns a version's pass that is under way, or begins one that is due; nil for neither.
func (r *Rollout) begun(tx store.Tx, rec, against *Record) (*sight, error) {
	was, err := stored(tx, rec.Name, rec.Version)
	if err != nil {
		return nil, err
	}
	s := &sight{pass: was, was: was}
	if was.Name == "" || !was.Stage.Equal(rec.StagedAt) || was.Against != against.Version {
		now := r.opts.Now().UTC()
		s.pass = pass{Name: rec.Name, Version: rec.Version, Stage: rec.StagedAt, Against: against.Version, Model: rec.ID(), Turn: was.Turn}
		s.To = now.Add(-Settled)
		if rec.State == Candidate {
			s.From, s.Model = s.To.Add(-newest), against.ID()
			if now.Before(rec.Seen.Add(24 * time.Hour)) {
				return nil, nil // it was looked at today, and there was too little to judge by
			}
		} else {
			s.From = rec.Seen
			if oldest := s.To.Add(-newest); s.From.Before(oldest) {
				s.From = oldest // nobody was there to look
			}
			if s.To = s.From.Add(24 * time.Hour); s.To.Add(Settled).After(now) {
				return nil, nil
			}
		}
		n, err := r.count(tx, s.Model)
		if err != nil {
			return nil, err
		}
		if s.Fleet, err = r.count(tx, ""); err != nil {
			return nil, err
		}
		s.Share = min(1, hubs/max(1, float64(n)))
	}
	if err := r.sample(tx, s); err != nil {
		return nil, err
	}
	if s.model, err = model(tx, rec); err == nil {
		s.against, err = model(tx, against)
	}
	return s, err
}

// count is how many hubs score by a model, or take one at all when model is "".
func (r *Rollout) count(tx store.Tx, model string) (n int, err error) {
	for after := store.Cursor(""); ; {
		list, next, err := r.opts.Hubs.Scoring(tx, model, after, page)
		if err != nil {
			return 0, err
		}
		if n, after = n+len(list), next; next == "" {
			return n, nil
		}
	}
}

// sample picks the next few hubs of a pass. Each day looks at others.
func (r *Rollout) sample(tx store.Tx, s *sight) error {
	s.next = s.After
	for len(s.hubs) < few {
		list, next, err := r.opts.Hubs.Scoring(tx, s.Model, s.next, few)
		if err != nil {
			return err
		}
		for _, h := range list {
			if place(s.Model, s.To.Unix(), h.Device) < s.Share {
				s.hubs = append(s.hubs, h)
			}
		}
		if s.next = next; next == "" {
			return nil
		}
	}
	return nil
}

// look plays what the hubs measured to both models.
func (r *Rollout) look(ctx context.Context, tenant string, s *sight) (sum Tally, err error) {
	a := Archive{
		DB: r.opts.DB, Tenant: tenant, Telemetry: r.opts.Telemetry,
		From: s.From.Add(-warmup), To: s.To, Late: Settled,
	}
	if r.opts.OwnFault != nil {
		if a.OwnFault, err = r.opts.OwnFault(ctx, tenant, a.From, a.To); err != nil {
			return sum, err
		}
	}
	// Moments a horizon apart: closer ones are about the same faults.
	p := Plan{Horizon: s.model.Horizon, Every: s.model.Horizon, Settle: s.model.Horizon, Warmup: warmup.Seconds()}
	for _, hub := range s.hubs {
		h, err := a.history(ctx, cloud.Device{ID: hub.Device, Home: hub.Home})
		if err != nil {
			return sum, fmt.Errorf("history of device %s: %w", hub.Device, err)
		}
		if h.Samples == nil {
			continue
		}
		if err := p.tally(&sum, s.against, s.model, h, float64(s.From.Unix()), float64(s.To.Unix())); err != nil {
			return sum, fmt.Errorf("history of device %s: %w", hub.Device, err)
		}
	}
	return sum, nil
}

// conclude draws what follows from a pass that is through.
func (r *Rollout) conclude(tx store.Tx, p pass, rec Record) error {
	now := r.opts.Now()
	if rec.State != Candidate {
		if _, err := r.opts.Registry.Observe(tx, p.Name, p.Version, p.Sum, p.To); err != nil {
			return err
		}
		_, _, err := r.opts.Registry.Advance(tx, p.Name, now)
		return err
	}
	if least := r.opts.Registry.minFaults(); p.Sum.Faults < least || p.Sum.Rivals < 2 {
		rec.Judged, rec.Seen = p.Sum, now.UTC()
		rec.Because = fmt.Sprintf("waits: %.0f of %.0f faults to judge it by, on %.0f hubs", p.Sum.Faults, least, p.Sum.Rivals)
		return models.Put(tx, &rec)
	}
	_, err := r.opts.Registry.Judged(tx, p.Name, p.Version, p.Sum, p.Fleet, now)
	if errors.Is(err, ErrNotBetter) {
		return nil // it is written
	}
	return err
}
