package predict

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// State is where a model is in its life.
type State string

// The states. A candidate is judged beside the model in use; a rolling one serves a growing share of hubs.
//
//	candidate --better--> rolling --stage by stage--> active --successor--> retired
//	    |                    |                          |                      ^
//	    +--not better--> refused                        +--drifted, and back --+
//	                         +--drifted, worse, or stopped--> rolled_back <----+
const (
	Candidate  State = "candidate"
	Rolling    State = "rolling"
	Active     State = "active"
	Retired    State = "retired"
	RolledBack State = "rolled_back"
	Refused    State = "refused" // judged, and no better than the one in use
)

// Record is the book of one version of a model.
type Record struct {
	Name     string    `json:"name"`
	Version  int64     `json:"version"`
	State    State     `json:"state"`
	Share    float64   `json:"share"` // of hubs, while rolling; 1 when active
	Horizon  float64   `json:"horizon_s"`
	About    string    `json:"about,omitempty"` // what it was fitted on
	Judged   Tally     `json:"judged"`          // beside the model in use, on the newest weeks
	Fleet    int       `json:"fleet"`           // hubs there were when it was judged
	Service  Tally     `json:"service"`         // in service, in the present stage
	Seen     time.Time `json:"seen"`            // what became of it is known until then
	Because  string    `json:"because,omitempty"`
	Added    time.Time `json:"added"`
	StagedAt time.Time `json:"staged_at"` // when state or share last changed
}

// ID names the version as hubs name it, see risk.Model.ID.
func (r *Record) ID() string { return r.Name + "/" + strconv.FormatInt(r.Version, 10) }

var models = store.NewTable("predict_models", store.Spec[Record]{
	Key:   store.Columns{store.Text("name"), store.Int("version")},
	KeyOf: func(r *Record) store.Key { return store.Key{r.Name, r.Version} },
})

// signed is what hubs are sent. It stands apart because the books are read often.
type signed struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Model   []byte `json:"model"`  // encoded
	Signed  []byte `json:"signed"` // the same in its signature
}

var wires = store.NewTable("predict_signed", store.Spec[signed]{
	Key:   store.Columns{store.Text("name"), store.Int("version")},
	KeyOf: func(s *signed) store.Key { return store.Key{s.Name, s.Version} },
})

// Change is the audit entry of a model: who changed its state, when and why.
type Change struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Version int64     `json:"version"`
	At      time.Time `json:"at"`
	By      cloud.Ref `json:"by"` // staff, or the service itself
	State   State     `json:"state"`
	Share   float64   `json:"share"`
	Because string    `json:"because,omitempty"`
}

var changes = store.NewTable("predict_changes", store.Spec[Change]{
	Key:   store.Columns{store.Text("name"), store.Time("at"), store.Text("change")},
	KeyOf: func(c *Change) store.Key { return store.Key{c.Name, c.At, c.ID} },
})

// Tables are what the package keeps; give them to the store's Open.
func Tables() []store.Declared { return []store.Declared{models, wires, changes, passes} }

// ErrNotBetter is returned for a candidate that was not judged better than the model in use.
var ErrNotBetter = errors.New("the candidate is not better than the model in use")

// itself is who acts when nobody does.
var itself = cloud.Ref{Type: cloud.RefService, ID: "predict"}

// Registry keeps the versions of models and decides which hub gets which. It is safe for concurrent use: it holds no
// state outside the store.
type Registry struct {
	// Sign signs an encoded model for hubs; the key is not the registry's to hold. Required.
	Sign func(model []byte) ([]byte, error)
	// Stages are the shares of hubs on the way to all; nil means 1 %, 10 %, 50 %: a bad model hurts few homes
	// first, and each stage sees several times as much as the one before.
	Stages []float64
	// Dwell is how long a stage lasts at least; 0 means 24 h: homes live by the day.
	Dwell time.Duration
	// MinHubs is how many hubs a stage must have; 0 means 20. A drift that all hubs share shows from MaxDrift² = 16
	// hubs on, and fewer would have to be watched for months.
	MinHubs float64
	// MinFaults is how many faults a stage, and a judgement, must have seen; 0 means 16, from which on a model that
	// foretells half or twice of what comes stands out by MaxDrift.
	MinFaults float64
	// MaxDrift, in standard deviations, rolls a model back; 0 means 4. So does nothing less than half as many or
	// less than one and a half times as many faults as predicted: a big fleet makes small errors significant.
	MaxDrift float64
}

// Add signs an encoded model and enters it as a candidate. The version must be new, and the horizon that of the
// model in use, or they could not be compared.
func (r *Registry) Add(tx store.Tx, encoded []byte, by cloud.Ref, now time.Time) (Record, error) {
	if len(encoded) > risk.MaxModelBytes {
		return Record{}, cloud.Invalid("model", "is %d bytes, hubs take %d", len(encoded), risk.MaxModelBytes)
	}
	m, err := risk.Decode(encoded)
	if err != nil {
		return Record{}, cloud.Invalid("model", "%s", err)
	}
	if m.Version > math.MaxInt64 {
		return Record{}, cloud.Invalid("model", "its version is beyond 63 bits")
	}
	rec := Record{
		Name: m.Name, Version: int64(m.Version), State: Candidate, Horizon: m.Horizon, About: m.About, Added: now.UTC(),
	}
	if inUse, ok, err := r.find(tx, m.Name, Active); err != nil {
		return rec, err
	} else if ok && inUse.Horizon != m.Horizon {
		return rec, cloud.Invalid("model", "speaks of %g s ahead, the model in use of %g s", m.Horizon, inUse.Horizon)
	}
	if known, err := models.Has(tx, rec.Name, rec.Version); err != nil {
		return rec, err
	} else if known {
		return rec, cloud.Errorf(cloud.CodeConflict, "there is a model %s", rec.ID())
	}
	wire := signed{Name: rec.Name, Version: rec.Version, Model: encoded}
	if wire.Signed, err = r.Sign(encoded); err != nil {
		return rec, fmt.Errorf("sign model %s: %w", rec.ID(), err)
	}
	return rec, errors.Join(wires.Insert(tx, &wire), r.put(tx, &rec, by, now))
}

// Judged enters how a candidate did beside the model in use on the newest weeks (see Compare) and starts its
// roll-out when it gained more than twice the doubt. The first model of a name needs no rival. Otherwise the
// candidate is refused, and ErrNotBetter returned after the refusal is written: commit it. Fleet is how many hubs
// there are, 0 when that is not known: stages of fewer than MinHubs of them are left out.
func (r *Registry) Judged(tx store.Tx, name string, version int64, t Tally, fleet int, now time.Time) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	if rec.State != Candidate {
		return rec, cloud.Errorf(cloud.CodeConflict, "model %s is %s, not a candidate", rec.ID(), rec.State)
	}
	rec.Judged, rec.Fleet = t, fleet
	_, rivalled, err := r.find(tx, name, Active)
	if err != nil {
		return rec, err
	}
	if gain, doubt := t.Gain(); rivalled && !(gain > 2*doubt) {
		rec.State, rec.Because = Refused, fmt.Sprintf("gains %.4f nats a moment, with a doubt of %.4f", gain, doubt)
		return rec, errors.Join(r.put(tx, &rec, itself, now), ErrNotBetter)
	}
	return r.roll(tx, rec, itself, now)
}

// Start has a person roll a version out again that was rolled back, or was retired.
func (r *Registry) Start(tx store.Tx, name string, version int64, by cloud.Ref, because string, now time.Time) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	if rec.State != RolledBack && rec.State != Retired {
		return rec, cloud.Errorf(cloud.CodeConflict, "model %s is %s; what was rolled back or retired can be started again", rec.ID(), rec.State)
	}
	rec.Because = because
	return r.roll(tx, rec, by, now)
}

func (r *Registry) roll(tx store.Tx, rec Record, by cloud.Ref, now time.Time) (Record, error) {
	if _, busy, err := r.find(tx, rec.Name, Rolling); err != nil || busy {
		return rec, errors.Join(err, cloud.Errorf(cloud.CodeConflict, "another version of %s is being rolled out", rec.Name))
	}
	_, rivalled, err := r.find(tx, rec.Name, Active)
	if err != nil {
		return rec, err
	}
	rec.State, rec.Share = Rolling, r.next(&rec, 0)
	if !rivalled { // there is nothing to fall back to and nothing to lose
		rec.State, rec.Share = Active, 1
	}
	return rec, r.put(tx, &rec, by, now)
}

// Stop has a person take a version out of service: a candidate is refused, a roll-out undone, and the model in use
// gives way to its predecessor, without which it stays.
func (r *Registry) Stop(tx store.Tx, name string, version int64, by cloud.Ref, because string, now time.Time) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	switch rec.State {
	case Candidate:
		rec.State, rec.Because = Refused, because
		return rec, r.put(tx, &rec, by, now)
	case Rolling, Active:
		done, err := r.rollBack(tx, &rec, by, because, now)
		if err == nil && !done {
			err = cloud.Errorf(cloud.CodeConflict, "model %s has no predecessor to go back to", rec.ID())
		}
		return rec, err
	}
	return rec, cloud.Errorf(cloud.CodeConflict, "model %s is %s already", rec.ID(), rec.State)
}

// memory is what is left, each day, of what an active model did before: about two weeks count.
const memory = 13.0 / 14

// Observe adds what became of a version's predictions in service, until a moment.
func (r *Registry) Observe(tx store.Tx, name string, version int64, t Tally, until time.Time) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	left := 1.0
	if rec.State == Active {
		left = memory
	}
	rec.Service, rec.Seen = rec.Service.plus(t, left), until
	return rec, models.Put(tx, &rec)
}

// Advance moves the roll-out of a name on by what was observed: to the next share once a stage has lasted and has
// seen enough faults, to all hubs after the last, or back to the model before when the calibration has drifted or the
// version predicts worse than the one in use, by more than twice the doubt. Drift also ends an active model that has
// a retired predecessor. It returns the record that changed, and whether one did.
func (r *Registry) Advance(tx store.Tx, name string, now time.Time) (Record, bool, error) {
	for _, state := range []State{Rolling, Active} {
		rec, ok, err := r.find(tx, name, state)
		if err != nil {
			return rec, false, err
		}
		if !ok {
			continue
		}
		why := r.drifted(rec.Service)
		if gain, doubt := rec.Service.Gain(); why == "" && state == Rolling && gain < -2*doubt {
			why = fmt.Sprintf("loses %.4f nats a moment to the model in use, with a doubt of %.4f", -gain, doubt)
		}
		if why != "" {
			changed, err := r.rollBack(tx, &rec, itself, why, now)
			if changed || err != nil {
				return rec, changed, err
			}
		}
		if state == Rolling && now.Sub(rec.StagedAt) >= r.dwell() && rec.Service.Faults >= r.minFaults() {
			return rec, true, r.promote(tx, &rec, now)
		}
	}
	return Record{}, false, nil
}

func (r *Registry) promote(tx store.Tx, rec *Record, now time.Time) error {
	rec.Because = fmt.Sprintf("%.0f faults seen on %.0f hubs", rec.Service.Faults, rec.Service.Hubs)
	if s := r.next(rec, rec.Share); s < 1 {
		rec.Share = s
		return r.put(tx, rec, itself, now)
	}
	if old, ok, err := r.find(tx, rec.Name, Active); err != nil {
		return err
	} else if ok {
		old.State, old.Share, old.Because = Retired, 0, "replaced by "+rec.ID()
		if err := r.put(tx, &old, itself, now); err != nil {
			return err
		}
	}
	rec.State, rec.Share = Active, 1
	return r.put(tx, rec, itself, now)
}

func (r *Registry) rollBack(tx store.Tx, rec *Record, by cloud.Ref, why string, now time.Time) (bool, error) {
	if rec.State == Active {
		old, ok, err := r.find(tx, rec.Name, Retired)
		if err != nil || !ok {
			return false, err // the only model there is: worse than calibrated, better than none
		}
		old.State, old.Share, old.Because = Active, 1, rec.ID()+" was rolled back"
		if err := r.put(tx, &old, itself, now); err != nil {
			return false, err
		}
	}
	rec.State, rec.Share, rec.Because = RolledBack, 0, why
	return true, r.put(tx, rec, by, now)
}

// put writes a new state or share: what was observed before belongs to the stage before, hubs have to be told, and
// the change is on record.
func (r *Registry) put(tx store.Tx, rec *Record, by cloud.Ref, now time.Time) error {
	rec.StagedAt, rec.Seen = now.UTC(), now.UTC()
	if rec.State == Candidate {
		rec.Seen = time.Time{}
	}
	if rec.State == Rolling || rec.State == Active {
		rec.Service = Tally{}
	}
	c := Change{
		ID: cloud.NewID(), Name: rec.Name, Version: rec.Version, At: now.UTC(), By: by,
		State: rec.State, Share: rec.Share, Because: rec.Because,
	}
	return errors.Join(models.Put(tx, rec), changes.Insert(tx, &c), store.Enqueue(tx, store.Job{Queue: QueueSend, ID: c.ID}))
}

// drifted says how a calibration has drifted, "" when it has not.
func (r *Registry) drifted(t Tally) string {
	limit := r.MaxDrift
	if limit == 0 {
		limit = 4
	}
	ratio := t.Observed / t.Predicted
	if math.Abs(t.Drift()) > limit && (ratio > 1.5 || ratio < 0.5) {
		lo, hi := t.Interval(limit)
		return fmt.Sprintf("calibration has drifted: %.0f moments before a fault were predicted in service and %.0f came, %.2f to %.2f times as many", t.Predicted, t.Observed, lo, hi)
	}
	return ""
}

// List returns the newest versions of a name, up to limit, and the newest changes, as many.
func (r *Registry) List(tx store.Tx, name string, limit int) (list []Record, log []Change, err error) {
	of := store.Range{Prefix: store.Key{name}, Reverse: true, Limit: limit}
	if list, _, err = models.Page(tx, of); err != nil {
		return nil, nil, err
	}
	log, _, err = changes.Page(tx, of)
	return list, log, err
}

// next is the stage after a share; 1 after the last, and as the first where no stage has enough hubs.
func (r *Registry) next(rec *Record, share float64) float64 {
	stages := r.Stages
	if stages == nil {
		stages = []float64{0.01, 0.1, 0.5}
	}
	for _, s := range stages {
		if s > share && (rec.Fleet == 0 || s*float64(rec.Fleet) >= r.minHubs()) {
			return s
		}
	}
	return 1
}

func (r *Registry) minHubs() float64 {
	if r.MinHubs == 0 {
		return 20
	}
	return r.MinHubs
}

func (r *Registry) dwell() time.Duration {
	if r.Dwell == 0 {
		return 24 * time.Hour
	}
	return r.Dwell
}

func (r *Registry) minFaults() float64 {
	if r.MinFaults == 0 {
		return 16
	}
	return r.MinFaults
}
