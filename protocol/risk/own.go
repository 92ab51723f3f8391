package risk

// OwnPast configures how far a link's own past corrects the model for it. The zero value turns it off.
type OwnPast struct {
	// Prior is how many expected faults the model's word is worth: the larger, the slower a link's past moves it.
	Prior float64 `cbor:"1,keyasint,omitempty"`
	Tau   float64 `cbor:"2,keyasint,omitempty"` // seconds after which a past prediction counts 1/e
}

// own holds what was predicted for a link and what came of it, both fading: a gamma-Poisson estimate of how much
// more often than predicted this link fails.
type own struct{ faults, expected, at float64 }

func (o *own) fade(at, tau float64) {
	if dt := at - o.at; dt > 0 {
		if o.expected > 0 || o.faults > 0 {
			f := exp(-dt / tau)
			o.faults, o.expected = mul(o.faults, f), mul(o.expected, f)
		}
		o.at = at
	}
}

// Learn tells the model what became of a prediction p for the link that is now, at time at, known to have come
// true (fault) or not. Weight is the prediction's share of a horizon: a link scored every 15 minutes about the
// next 24 hours says nearly the same 96 times, so each counts 1/96. p is the model's word without the correction
// (Score.Base).
func (m *Model) Learn(k *Link, at, p float64, fault bool, weight float64) {
	if m.Own.Prior <= 0 {
		return
	}
	k.own.fade(at, m.Own.Tau)
	k.own.expected += mul(weight, p)
	if fault {
		k.own.faults += weight
	}
}

// shift is the correction of the logit for this link.
func (m *Model) shift(k *Link, at float64) float64 {
	if m.Own.Prior <= 0 {
		return 0
	}
	o := k.own
	o.fade(at, m.Own.Tau)
	return log((o.faults + m.Own.Prior) / (o.expected + m.Own.Prior))
}

// Corrected is the probability p (Score.Base) corrected by the link's own past, for callers that keep features
// themselves.
func (m *Model) Corrected(k *Link, at, p float64) float64 {
	if d := m.shift(k, at); d != 0 {
		return sigmoid(logit(p) + d)
	}
	return p
}
