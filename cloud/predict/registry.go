package predict

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// State is where a model is in its life.
type State string

// The states. A candidate is judged beside the model in use; a rolling one serves a growing share of hubs.
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
	Share    float64   `json:"share"`  // of hubs, while rolling; 1 when active
	Signed   []byte    `json:"signed"` // what hubs are sent: the encoded model, signed
	Trained  Quality   `json:"trained"`
	Gain     float64   `json:"gain"`   // nats a moment better than the model in use, when it was judged
	Doubt    float64   `json:"doubt"`  // standard error of the gain
	Record   Tally     `json:"record"` // what became of its predictions in service
	Because  string    `json:"because,omitempty"`
	Added    time.Time `json:"added"`
	StagedAt time.Time `json:"staged_at"`
}

// Tally adds up predictions in service, in units of independent moments: see Registry.Observe.
type Tally struct {
	N         float64 `json:"n"`
	Predicted float64 `json:"predicted"`
	Observed  float64 `json:"observed"`
	Variance  float64 `json:"variance"`
}

// Drift is how many standard deviations more faults came than were predicted (negative: fewer).
func (t Tally) Drift() float64 {
	if t.Variance <= 0 {
		return 0
	}
	return (t.Observed - t.Predicted) / math.Sqrt(t.Variance)
}

var models = store.NewTable("predict_models", store.Spec[Record]{
	Key:   store.Columns{store.Text("name"), store.Int("version")},
	KeyOf: func(r *Record) store.Key { return store.Key{r.Name, r.Version} },
})

// Tables are what the registry keeps; give them to the store's Open.
func Tables() []store.Declared { return []store.Declared{models} }

// ErrNotBetter is returned by Start for a candidate that was not judged better than the model in use.
var ErrNotBetter = errors.New("the candidate is not better than the model in use")

// Registry keeps the versions of models and decides which hub gets which. It is safe for concurrent use: it holds no
// state outside the store.
type Registry struct {
	// Sign signs an encoded model for hubs; the key is not the registry's to hold. Required.
	Sign func(model []byte) ([]byte, error)
	// Stages are the shares of hubs on the way to all; nil means 1 %, 10 %, 50 %.
	Stages []float64
	// Dwell is how long a stage lasts at least; 0 means 24 h.
	Dwell time.Duration
	// MaxDrift, in standard deviations, rolls a model back; 0 means 4. So does nothing less than half as many or
	// less than one and a half times as many faults as predicted: a big fleet makes small errors significant.
	MaxDrift float64
}

// Add signs a trained model and enters it as a candidate. The version must be new.
func (r *Registry) Add(tx store.Tx, t *Trained, now time.Time) (Record, error) {
	b, err := risk.Encode(t.Model)
	if err != nil {
		return Record{}, err
	}
	if len(b) > risk.MaxModelBytes {
		return Record{}, fmt.Errorf("model %s %d takes %d bytes, hubs take %d", t.Model.Name, t.Model.Version, len(b), risk.MaxModelBytes)
	}
	signed, err := r.Sign(b)
	if err != nil {
		return Record{}, fmt.Errorf("sign model %s %d: %w", t.Model.Name, t.Model.Version, err)
	}
	rec := Record{
		Name: t.Model.Name, Version: int64(t.Model.Version), State: Candidate,
		Signed: signed, Trained: t.Quality, Added: now.UTC(), StagedAt: now.UTC(),
	}
	return rec, models.Insert(tx, &rec)
}

// Judged enters how a candidate did beside the model in use on the newest weeks (see Compare) and starts its
// roll-out when it gained more than twice the doubt. The first model of a name needs no rival. Otherwise the
// candidate is refused, and ErrNotBetter returned after the refusal is written: commit it.
func (r *Registry) Judged(tx store.Tx, name string, version int64, gain, doubt float64, now time.Time) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	if rec.State != Candidate {
		return rec, fmt.Errorf("model %s %d is %s, not a candidate", name, version, rec.State)
	}
	_, rivalled, err := r.find(tx, name, Active)
	if err != nil {
		return rec, err
	}
	if _, busy, err := r.find(tx, name, Rolling); err != nil || busy {
		return rec, errors.Join(err, fmt.Errorf("another version of %s is being rolled out", name))
	}
	rec.Gain, rec.Doubt = gain, doubt
	if rivalled && !(gain > 2*doubt) {
		rec.State, rec.Because = Refused, fmt.Sprintf("gains %.4f nats a moment, with a doubt of %.4f", gain, doubt)
		return rec, errors.Join(models.Put(tx, &rec), ErrNotBetter)
	}
	rec.State, rec.Share, rec.StagedAt = Rolling, r.stage(0), now.UTC()
	if !rivalled { // there is nothing to fall back to and nothing to lose
		rec.State, rec.Share = Active, 1
	}
	return rec, models.Put(tx, &rec)
}

// Observe adds what became of a version's predictions. Weight is the share of an independent moment that each
// stands for: the sampling interval over the horizon.
func (r *Registry) Observe(tx store.Tx, name string, version int64, outcomes []Outcome, weight float64) (Record, error) {
	rec, err := models.Get(tx, name, version)
	if err != nil {
		return rec, err
	}
	for _, o := range outcomes {
		rec.Record.N += weight
		rec.Record.Predicted += weight * o.P
		rec.Record.Observed += weight * float64(number(o.Fault))
		rec.Record.Variance += weight * o.P * (1 - o.P)
	}
	return rec, models.Put(tx, &rec)
}

// Advance moves the roll-out of a name on: to the next share once a stage has lasted, to all hubs after the last, or
// back to the model before when the calibration has drifted, which also ends an active model that has a retired
// predecessor. It returns the record that changed, and whether one did.
func (r *Registry) Advance(tx store.Tx, name string, now time.Time) (Record, bool, error) {
	for _, state := range []State{Rolling, Active} {
		rec, ok, err := r.find(tx, name, state)
		if err != nil {
			return rec, false, err
		}
		if !ok {
			continue
		}
		if why := r.drifted(rec.Record); why != "" {
			changed, err := r.rollBack(tx, &rec, why, now)
			if changed || err != nil {
				return rec, changed, err
			}
		}
		if state == Rolling && now.Sub(rec.StagedAt) >= r.dwell() {
			return rec, true, r.promote(tx, &rec, now)
		}
	}
	return Record{}, false, nil
}

func (r *Registry) promote(tx store.Tx, rec *Record, now time.Time) error {
	rec.StagedAt = now.UTC()
	for i := 0; i < len(r.stages()); i++ {
		if s := r.stage(i); s > rec.Share {
			rec.Share = s
			return models.Put(tx, rec)
		}
	}
	if old, ok, err := r.find(tx, rec.Name, Active); err != nil {
		return err
	} else if ok {
		old.State, old.Share, old.StagedAt = Retired, 0, now.UTC()
		if err := models.Put(tx, &old); err != nil {
			return err
		}
	}
	rec.State, rec.Share = Active, 1
	return models.Put(tx, rec)
}

func (r *Registry) rollBack(tx store.Tx, rec *Record, why string, now time.Time) (bool, error) {
	if rec.State == Active {
		old, ok, err := r.find(tx, rec.Name, Retired)
		if err != nil || !ok {
			return false, err // the only model there is: worse than calibrated, better than none
		}
		old.State, old.Share, old.Record, old.StagedAt = Active, 1, Tally{}, now.UTC()
		if err := models.Put(tx, &old); err != nil {
			return false, err
		}
	}
	rec.State, rec.Share, rec.Because, rec.StagedAt = RolledBack, 0, why, now.UTC()
	return true, models.Put(tx, rec)
}

func (r *Registry) drifted(t Tally) string {
	limit := r.MaxDrift
	if limit == 0 {
		limit = 4
	}
	ratio := t.Observed / t.Predicted
	if d := t.Drift(); math.Abs(d) > limit && (ratio > 1.5 || ratio < 0.5) {
		return fmt.Sprintf("%.1f faults were predicted in service and %.1f came", t.Predicted, t.Observed)
	}
	return ""
}

// For returns the version that a device is to use: the rolling one when the device is among its share, else the
// active one. ok is false when there is none.
func (r *Registry) For(tx store.Tx, name, device string) (rec Record, ok bool, err error) {
	rec, ok, err = r.find(tx, name, Rolling)
	if err != nil || ok && place(name, rec.Version, device) < rec.Share {
		return rec, ok, err
	}
	return r.find(tx, name, Active)
}

// place is where a device stands in [0, 1) for a version: each roll-out begins with other homes.
func place(name string, version int64, device string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%s", name, version, device)
	x := h.Sum64() * 0x9e3779b97f4a7c15
	return float64((x^x>>29)>>11) * 0x1p-53
}

// find returns the newest version in a state.
func (r *Registry) find(tx store.Tx, name string, state State) (Record, bool, error) {
	for rec, err := range models.Scan(tx, store.Range{Prefix: store.Key{name}, Reverse: true}) {
		if err != nil {
			return rec, false, err
		}
		if rec.State == state {
			return rec, true, nil
		}
	}
	return Record{}, false, nil
}

func (r *Registry) stages() []float64 {
	if r.Stages == nil {
		return []float64{0.01, 0.1, 0.5}
	}
	return r.Stages
}

func (r *Registry) stage(i int) float64 { return r.stages()[i] }

func (r *Registry) dwell() time.Duration {
	if r.Dwell == 0 {
		return 24 * time.Hour
	}
	return r.Dwell
}
