package risk

import "math"

// Abstain says why there is no score.
type Abstain uint8

// The reasons to abstain.
const (
	Scored     Abstain = iota
	TooNew             // the link has not been heard for long enough
	TooLittle          // too few of the signals are there
	TooUnusual         // it behaves unlike anything in the training
)

var abstainNames = [...]string{"scored", "too_new", "too_little", "too_unusual"}

// String is the message key of the reason: scored, too_new, too_little or too_unusual.
func (a Abstain) String() string {
	if int(a) < len(abstainNames) {
		return abstainNames[a]
	}
	return "unknown"
}

// MaxReasons is how many reasons a score carries.
const MaxReasons = 3

// Reason is one signal that raises the risk of a link.
type Reason struct {
	Signal  string  // name of the signal
	Share   float64 // its part of all that raises the risk, 0 to 1
	What    What    // what about the signal
	Value   float64 // what is behind it: in the signal's unit, a count, or seconds for WhatRecent, WhatQuiet and WhatAge; NaN if missing
	Usual   float64 // what it is compared with, in the same unit; NaN where nothing is compared
	Feature int     // index of the feature that says most, in the model's input
}

// What says which aspect of a signal a Reason is about.
type What uint8

// The aspects.
const (
	WhatLevel    What = iota + 1 // its level
	WhatChange                   // it differs from what is usual here
	WhatUnsteady                 // it fluctuates
	WhatExtreme                  // a recent extreme
	WhatRecent                   // something happened not long ago
	WhatOften                    // it happens often
	WhatQuiet                    // nothing is heard
	WhatAge                      // how long the link has been known
)

var whatNames = [...]string{"unknown", "level", "change", "unsteady", "extreme", "recent", "often", "quiet", "age"}

// String is the message key of the aspect: level, change, unsteady, extreme, recent, often, quiet or age.
func (w What) String() string {
	if int(w) < len(whatNames) {
		return whatNames[w]
	}
	return whatNames[0]
}

// Score is what a model says about a link at one moment.
type Score struct {
	Probability float64 // of a fault within the model's horizon; when abstaining, still the model's best guess
	Base        float64 // the same without the correction by the link's own past; what Learn wants back
	Logit       float64 // before calibration
	Abstain     Abstain
	Reasons     [MaxReasons]Reason // strongest first; N are filled
	N           int
}

// Scorer scores links against one model without allocating. It is not safe for concurrent use.
type Scorer struct {
	m   *Model
	x   []float32
	by  []float64 // contribution of each feature, in logits
	sig []float64 // and of each signal
}

// NewScorer returns a scorer for a compiled model.
func NewScorer(m *Model) *Scorer {
	return &Scorer{
		m:  m,
		x:  make([]float32, len(m.Input.Features)),
		by: make([]float64, len(m.Input.Features)), sig: make([]float64, len(m.Input.Signals)),
	}
}

// Score returns the risk of k at time at, which is on the clock of Put.
func (s *Scorer) Score(k *Link, at float64) Score {
	s.m.layout.Features(k, at, s.x)
	out := s.features(s.x)
	out.Probability = s.m.Corrected(k, at, out.Base)
	for i := range out.Reasons[:out.N] {
		s.m.layout.measure(k, at, &out.Reasons[i])
	}
	if out.Abstain == Scored && s.m.Abstention.MinAge > 0 && k.age(at) < s.m.Abstention.MinAge {
		out.Abstain = TooNew
	}
	return out
}

// Features scores a row of features, one for each of the model's, missing ones NaN. It cannot know a link's age, and
// its reasons carry the feature as their value.
func (s *Scorer) Features(x []float32) Score { return s.features(x) }

// Probability scores a row of features without reasons, at about half the cost.
func (m *Model) Probability(x []float32) float64 { return m.Calibration.Apply(m.Logit(x)) }

// Logit is the score of a row of features before calibration.
func (m *Model) Logit(x []float32) float64 {
	z := m.Bias
	for i := range m.Parts {
		z += mul(m.Parts[i].Weight, m.Parts[i].Logit(x))
	}
	return z
}

// Logit is what the part says on its own, before its weight.
func (p *Part) Logit(x []float32) float64 {
	if p.Linear != nil {
		z := p.Linear.Bias
		for i := range p.Linear.Terms {
			z += p.Linear.Terms[i].of(x)
		}
		return z
	}
	sum := 0.0
	for _, t := range p.Forest.Trees {
		sum += float64(t.walk(x))
	}
	return p.Forest.logit(sum)
}

func (f *Forest) logit(sum float64) float64 {
	if f.Average {
		return logit(sum/float64(len(f.Trees))) + f.Bias
	}
	return sum + f.Bias
}

func (t *Term) of(x []float32) float64 {
	v := float64(x[t.Feature])
	if v != v {
		return t.Missing
	}
	return mul(t.Weight, clamp((v-t.Center)/t.Scale, -t.Clip, t.Clip))
}

func (s *Scorer) features(x []float32) Score {
	for i := range s.by {
		s.by[i] = 0
	}
	z := s.m.Bias
	for i := range s.m.Parts {
		p := &s.m.Parts[i]
		if p.Linear != nil {
			l := p.Linear.Bias
			for j := range p.Linear.Terms {
				c := p.Linear.Terms[j].of(x)
				s.by[p.Linear.Terms[j].Feature] += mul(p.Weight, c)
				l += c
			}
			z += mul(p.Weight, l)
			continue
		}
		scale := p.Weight
		if p.Forest.Average {
			// The mean of the leaves is a probability; around it a step of the logit is 1/(p(1-p)) as long.
			root := 0.0
			for _, t := range p.Forest.Trees {
				root += float64(t[0].Value)
			}
			q := clamp(root/float64(len(p.Forest.Trees)), 0.01, 0.99)
			scale /= mul(mul(q, 1-q), float64(len(p.Forest.Trees)))
		}
		sum := 0.0
		for _, t := range p.Forest.Trees {
			sum += float64(t.explain(x, scale, s.by))
		}
		z += mul(p.Weight, p.Forest.logit(sum))
	}
	p := s.m.Calibration.Apply(z)
	out := Score{Logit: z, Probability: p, Base: p, Abstain: s.m.Abstention.judge(x)}
	s.reasons(x, &out)
	return out
}

// reasons names the signals that push the logit up most. Features of one signal speak together.
func (s *Scorer) reasons(x []float32, out *Score) {
	in := &s.m.Input
	for i := range s.sig {
		s.sig[i] = 0
	}
	for i, c := range s.by {
		s.sig[in.Tracks[in.Features[i].A].Signal] += c
	}
	total := 0.0
	for _, c := range s.sig {
		if c > 0 {
			total += c
		}
	}
	for out.N < MaxReasons {
		best := -1
		for i, c := range s.sig {
			if c > 0 && (best < 0 || c > s.sig[best]) {
				best = i
			}
		}
		if best < 0 || s.sig[best] < mul(0.02, total) {
			return
		}
		top := -1
		for i, c := range s.by {
			if int(in.Tracks[in.Features[i].A].Signal) == best && (top < 0 || c > s.by[top]) {
				top = i
			}
		}
		out.Reasons[out.N] = Reason{
			Signal: in.Signals[best].Name, Share: s.sig[best] / total,
			What: in.what(top, x[top]), Value: float64(x[top]), Usual: math.NaN(), Feature: top,
		}
		out.N++
		s.sig[best] = 0
	}
}

// measure puts the quantities behind a feature in place of the feature.
func (l *Layout) measure(k *Link, at float64, r *Reason) {
	f := &l.in.Features[r.Feature]
	r.Value = l.track(k, f.A, at)
	switch f.Form {
	case Spread:
		r.Value = float64(k.slots[k.start[f.A]+1])
	case Minus, Ratio, Sigma, Excess:
		r.Usual = l.track(k, f.B, at)
	}
}

func (in *Input) what(feature int, v float32) What {
	f := in.Features[feature]
	if isNaN32(v) {
		return WhatQuiet
	}
	switch f.Form {
	case Spread:
		return WhatUnsteady
	case Minus, Ratio, Sigma, Excess:
		return WhatChange
	}
	switch in.Tracks[f.A].Kind {
	case Low, High, Least:
		return WhatExtreme
	case Since:
		return WhatRecent
	case Count:
		return WhatOften
	case Quiet:
		return WhatQuiet
	case Age:
		return WhatAge
	}
	return WhatLevel
}

// judge says whether a row of features is one the model knows how to read.
func (a *Abstention) judge(x []float32) Abstain {
	present, strange := 0, 0
	for i, v := range x {
		if isNaN32(v) {
			continue
		}
		present++
		if len(a.Lo) > 0 && (v < a.Lo[i] || v > a.Hi[i]) {
			strange++
		}
	}
	if present == 0 || float64(present) < mul(a.MinPresent, float64(len(x))) {
		return TooLittle
	}
	if a.MaxStrange > 0 && float64(strange) > mul(a.MaxStrange, float64(present)) {
		return TooUnusual
	}
	return Scored
}

// age is for how long anything has been heard of the link, in seconds.
func (k *Link) age(at float64) float64 {
	age := 0.0
	for _, f := range k.first {
		if a := at - f; a > age {
			age = a
		}
	}
	return age
}
