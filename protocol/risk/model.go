package risk

import (
	"errors"
	"fmt"
	"strconv"
)

// Limits of a model's parts.
const (
	MaxParts = 16
	MaxTrees = 4096 // in one part
	maxDepth = 64
)

// Model turns the features of a link into the probability of a fault within Horizon. Fill it in or decode it,
// then Compile it.
type Model struct {
	Name    string  `cbor:"1,keyasint"`
	Version uint64  `cbor:"2,keyasint"`
	About   string  `cbor:"3,keyasint,omitempty"` // what it was fitted on, for people
	Horizon float64 `cbor:"4,keyasint"`           // seconds ahead the probability speaks of

	Input Input   `cbor:"5,keyasint"`
	Parts []Part  `cbor:"6,keyasint"`
	Bias  float64 `cbor:"7,keyasint,omitempty"` // added to the weighted sum of the parts' logits

	Calibration Calibration `cbor:"8,keyasint"`
	Abstention  Abstention  `cbor:"9,keyasint"`
	Raise       float64     `cbor:"10,keyasint"` // an Observer is High from this probability on
	Clear       float64     `cbor:"11,keyasint"` // and calm again below this one; at most Raise
	Own         OwnPast     `cbor:"12,keyasint"` // correction by the link's own past

	layout *Layout
}

// ID names one version of a model, such as "home/3".
func (m *Model) ID() string { return m.Name + "/" + strconv.FormatUint(m.Version, 10) }

// Part is one voice of the model: a linear logit or an ensemble of trees, exactly one of the two.
type Part struct {
	Weight float64 `cbor:"1,keyasint"`
	Linear *Linear `cbor:"2,keyasint,omitempty"`
	Forest *Forest `cbor:"3,keyasint,omitempty"`
}

// Linear is a logistic hazard over standardised features.
type Linear struct {
	Bias  float64 `cbor:"1,keyasint"`
	Terms []Term  `cbor:"2,keyasint"`
}

// Term adds Weight * clamp((x-Center)/Scale, -Clip, Clip), and Missing when the feature is missing.
type Term struct {
	Feature uint16  `cbor:"1,keyasint"`
	Center  float64 `cbor:"2,keyasint"`
	Scale   float64 `cbor:"3,keyasint"` // above zero
	Clip    float64 `cbor:"4,keyasint"` // above zero
	Weight  float64 `cbor:"5,keyasint"`
	Missing float64 `cbor:"6,keyasint,omitempty"`
}

// Forest is an ensemble of trees whose leaves are added up.
type Forest struct {
	Bias float64 `cbor:"1,keyasint,omitempty"`
	// Average takes the mean of the leaves as a probability (bagged trees) instead of their sum as a logit
	// (boosted trees).
	Average bool   `cbor:"2,keyasint,omitempty"`
	Trees   []Tree `cbor:"3,keyasint"`
}

// Calibration maps the raw logit to a probability: first Slope*logit+Offset, then, where there are knots, linear
// interpolation of (X, P), constant beyond the ends. A zero Slope counts as 1.
type Calibration struct {
	Slope  float64   `cbor:"1,keyasint,omitempty"`
	Offset float64   `cbor:"2,keyasint,omitempty"`
	X      []float64 `cbor:"3,keyasint,omitempty"` // logits, rising
	P      []float64 `cbor:"4,keyasint,omitempty"` // probabilities, never falling
}

// Apply returns the probability of a raw logit.
func (c *Calibration) Apply(z float64) float64 {
	slope := c.Slope
	if slope == 0 {
		slope = 1
	}
	z = mul(slope, z) + c.Offset
	n := len(c.X)
	if n == 0 {
		return sigmoid(z)
	}
	if z <= c.X[0] {
		return c.P[0]
	}
	if z >= c.X[n-1] {
		return c.P[n-1]
	}
	lo, hi := 0, n-1
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; c.X[mid] <= z {
			lo = mid
		} else {
			hi = mid
		}
	}
	return c.P[lo] + mul((z-c.X[lo])/(c.X[hi]-c.X[lo]), c.P[hi]-c.P[lo])
}

// Abstention says when the model has nothing honest to say.
type Abstention struct {
	MinAge     float64   `cbor:"1,keyasint,omitempty"` // seconds a link must have been heard
	MinPresent float64   `cbor:"2,keyasint,omitempty"` // share of the features that must be there, 0 to 1
	MaxStrange float64   `cbor:"3,keyasint,omitempty"` // share of the features that may lie outside [Lo, Hi]; 0 means any
	Lo         []float32 `cbor:"4,keyasint,omitempty"` // per feature, as seen in training
	Hi         []float32 `cbor:"5,keyasint,omitempty"`
}

// ErrModel is wrapped by every refusal of a model.
var ErrModel = errors.New("risk model refused")

// Compile checks the model and prepares it for scoring. The model must not change afterwards.
func (m *Model) Compile() error {
	layout, err := NewLayout(&m.Input)
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	m.layout = layout
	return nil
}

func (m *Model) validate() error {
	n := len(m.Input.Features)
	if !finite(m.Horizon, m.Bias, m.Raise, m.Clear) || m.Horizon <= 0 {
		return errors.New("horizon, bias or thresholds are malformed")
	}
	if m.Clear < 0 || m.Raise < m.Clear || m.Raise > 1 {
		return errors.New("thresholds need 0 <= clear <= raise <= 1")
	}
	if len(m.Parts) == 0 || len(m.Parts) > MaxParts {
		return fmt.Errorf("%d parts, want 1 to %d", len(m.Parts), MaxParts)
	}
	for i, p := range m.Parts {
		if (p.Linear == nil) == (p.Forest == nil) || !finite(p.Weight) {
			return fmt.Errorf("part %d must be linear or a forest", i)
		}
		if p.Linear != nil {
			if len(p.Linear.Terms) > n || !finite(p.Linear.Bias) {
				return fmt.Errorf("part %d has too many terms or no finite bias", i)
			}
			for _, t := range p.Linear.Terms {
				if int(t.Feature) >= n || !finite(t.Center, t.Scale, t.Clip, t.Weight, t.Missing) || t.Scale <= 0 || t.Clip <= 0 {
					return fmt.Errorf("part %d has a malformed term", i)
				}
			}
		}
		if p.Forest != nil {
			if len(p.Forest.Trees) == 0 || len(p.Forest.Trees) > MaxTrees || !finite(p.Forest.Bias) {
				return fmt.Errorf("part %d has %d trees", i, len(p.Forest.Trees))
			}
			for j, t := range p.Forest.Trees {
				if err := t.validate(n); err != nil {
					return fmt.Errorf("part %d tree %d: %w", i, j, err)
				}
			}
		}
	}
	return m.validateRest(n)
}

func (m *Model) validateRest(n int) error {
	c := m.Calibration
	if len(c.X) != len(c.P) || len(c.X) == 1 || !finite(c.Slope, c.Offset) || !finite(c.X...) || !finite(c.P...) || c.Slope < 0 {
		return errors.New("calibration is malformed")
	}
	for i := range c.X {
		if c.P[i] < 0 || c.P[i] > 1 || i > 0 && (c.X[i] <= c.X[i-1] || c.P[i] < c.P[i-1]) {
			return errors.New("calibration must rise")
		}
	}
	if !finite(m.Own.Prior, m.Own.Tau) || m.Own.Prior < 0 || m.Own.Prior > 0 && m.Own.Tau <= 0 {
		return errors.New("the correction by the own past is malformed")
	}
	a := m.Abstention
	if !finite(a.MinAge, a.MinPresent, a.MaxStrange) || len(a.Lo) != len(a.Hi) || len(a.Lo) != 0 && len(a.Lo) != n {
		return errors.New("abstention is malformed")
	}
	return nil
}

// Layout is the prepared input side, for callers that need features without scores. It is nil before Compile.
func (m *Model) Layout() *Layout { return m.layout }

// NewLink returns the state of a link nothing is known about.
func (m *Model) NewLink() *Link { return m.layout.NewLink() }

// Put takes a value of a link's signal; see Layout.Put.
func (m *Model) Put(k *Link, signal int, at, v float64) { m.layout.Put(k, signal, at, v) }
