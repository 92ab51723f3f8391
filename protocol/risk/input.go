package risk

import (
	"fmt"
	"math"
)

// Limits of a model's input side. A model beyond them is refused when it is decoded.
const (
	MaxSignals  = 64
	MaxTracks   = 512
	MaxFeatures = 512
)

// Signal is one named quantity a link reports. A link may report any of its signals at any time, or never.
type Signal struct {
	Name string `cbor:"1,keyasint"` // what reasons and messages call it, for example "gateway_loss"
	// Metrics lists the metric names that feed the signal on a hub; '*' matches any run of characters.
	// Empty means the metric called Name.
	Metrics []string `cbor:"2,keyasint,omitempty"`
	Fold    Fold     `cbor:"3,keyasint,omitempty"` // how several metrics of one sample become one value
	Lo      float64  `cbor:"4,keyasint"`           // values below Lo are raised to it; with Hi <= Lo there are no bounds
	Hi      float64  `cbor:"5,keyasint"`           // values above Hi are lowered to it
	// Rate takes the metric as a counter and makes of it the increase per second; a counter that falls was reset,
	// and that sample is skipped.
	Rate bool `cbor:"6,keyasint,omitempty"`
	// Gate names a metric of the same instances that says which of them are in use: a value counts only while its
	// instance's gate is above zero, so a slow resolver nobody asks is no risk. Empty: all count.
	Gate string `cbor:"7,keyasint,omitempty"`
}

// Fold says how the values of several metrics in one sample become the value of one signal.
type Fold uint8

// The folds. Worst resolver, least reachable gateway, total of all interfaces.
const (
	FoldMax Fold = iota
	FoldMin
	FoldSum
)

// TrackKind says what a Track remembers of its signal.
type TrackKind uint8

// The kinds of track. Tau is the time constant in seconds: what lies Tau back counts 1/e.
const (
	Last  TrackKind = iota + 1 // the latest value
	Mean                       // exponential mean and mean absolute deviation (the spread)
	Base                       // as Mean, but a value moves it by no more than three spreads: a robust baseline
	Low                        // recent minimum, which relaxes towards the present with Tau
	High                       // recent maximum, likewise
	Count                      // sum of values, each fading with Tau; for 0/1 signals a count of events
	Since                      // seconds since the value was last at least At, at most Tau; never counts as Tau (with Tau 0: no limit, missing)
	Quiet                      // seconds since the signal was last heard
	Age                        // seconds since the signal was first heard
	Least                      // minimum of the last Tau, which is kept in eighths: a value is forgotten between Tau and 9/8 Tau later
)

// Track is one thing remembered about one signal.
type Track struct {
	Signal uint8     `cbor:"1,keyasint"`
	Kind   TrackKind `cbor:"2,keyasint"`
	Tau    float64   `cbor:"3,keyasint,omitempty"` // seconds; Mean, Base, Low, High, Count, Since, Least
	At     float64   `cbor:"4,keyasint,omitempty"` // threshold; Since
}

func (t Track) slots() int {
	switch t.Kind {
	case Mean, Base:
		return 2
	case Quiet, Age:
		return 0
	case Least:
		return eighths + 1
	}
	return 1
}

// eighths is into how many pieces a Least track cuts its window.
const eighths = 8

// Form says how a Feature is made from tracks.
type Form uint8

// The forms; a, b are the values of tracks A and B, and a missing value makes a missing feature.
const (
	Plain  Form = iota + 1 // a
	Log                    // ln(1 + max(a, 0))
	Spread                 // the spread of A, which is a Mean or Base track
	Minus                  // a - b
	Ratio                  // a / (b + Floor)
	Sigma                  // (a - b) / (spread of B + Floor): how unusual a is for this very link
	Excess                 // ln((a + Floor) / (b + Floor)): how much more of a than of b, Floor being what a lack of evidence weighs; a missing one is 0
)

// Feature is one number the model sees.
type Feature struct {
	Form  Form    `cbor:"1,keyasint"`
	A     uint16  `cbor:"2,keyasint"`
	B     uint16  `cbor:"3,keyasint,omitempty"`
	Floor float64 `cbor:"4,keyasint,omitempty"`
}

// Input is the input side of a model: which signals it hears, what it remembers of them and what it makes of that.
type Input struct {
	Signals  []Signal  `cbor:"1,keyasint"`
	Tracks   []Track   `cbor:"2,keyasint"`
	Features []Feature `cbor:"3,keyasint"`
}

// Index returns the position of the signal called name, or -1.
func (in *Input) Index(name string) int {
	for i := range in.Signals {
		if in.Signals[i].Name == name {
			return i
		}
	}
	return -1
}

// Track adds a track, or finds the one that is already there, and returns its position.
func (in *Input) Track(signal string, kind TrackKind, tau, at float64) uint16 {
	s := in.Index(signal)
	if s < 0 {
		panic("risk: no signal " + signal) // a slip in the program that designs the input
	}
	t := Track{Signal: uint8(s), Kind: kind, Tau: tau, At: at}
	for i := range in.Tracks {
		if in.Tracks[i] == t {
			return uint16(i)
		}
	}
	in.Tracks = append(in.Tracks, t)
	return uint16(len(in.Tracks) - 1)
}

// Add adds a feature.
func (in *Input) Add(f Feature) { in.Features = append(in.Features, f) }

// FeatureName describes feature i for tables and plots, for example "sigma(rtt/base@86400 ...)".
func (in *Input) FeatureName(i int) string {
	f := in.Features[i]
	a := in.trackName(f.A)
	switch f.Form {
	case Log:
		return "log(" + a + ")"
	case Spread:
		return "spread(" + a + ")"
	case Minus:
		return a + " - " + in.trackName(f.B)
	case Ratio:
		return a + " / " + in.trackName(f.B)
	case Sigma:
		return "sigma(" + a + ", " + in.trackName(f.B) + ")"
	case Excess:
		return "excess(" + a + ", " + in.trackName(f.B) + ")"
	}
	return a
}

var kindNames = [...]string{"?", "last", "mean", "base", "low", "high", "count", "since", "quiet", "age", "least"}

func (in *Input) trackName(i uint16) string {
	t := in.Tracks[i]
	s := in.Signals[t.Signal].Name + "." + kindNames[t.Kind]
	switch {
	case t.Kind == Since:
		s += fmt.Sprintf("@%g", t.At)
	case t.Tau > 0:
		s += fmt.Sprintf("/%gs", t.Tau)
	}
	return s
}

func (in *Input) validate() error {
	if n := len(in.Signals); n == 0 || n > MaxSignals {
		return fmt.Errorf("%d signals, want 1 to %d", n, MaxSignals)
	}
	if n := len(in.Tracks); n == 0 || n > MaxTracks {
		return fmt.Errorf("%d tracks, want 1 to %d", n, MaxTracks)
	}
	if n := len(in.Features); n == 0 || n > MaxFeatures {
		return fmt.Errorf("%d features, want 1 to %d", n, MaxFeatures)
	}
	seen := make(map[string]bool, len(in.Signals))
	for i, s := range in.Signals {
		if s.Name == "" || len(s.Name) > 64 || seen[s.Name] || s.Fold > FoldSum || len(s.Metrics) > 16 || len(s.Gate) > 64 || !finite(s.Lo, s.Hi) {
			return fmt.Errorf("signal %d (%q) is malformed or named twice", i, s.Name)
		}
		seen[s.Name] = true
	}
	for i, t := range in.Tracks {
		if int(t.Signal) >= len(in.Signals) || t.Kind < Last || t.Kind > Least || !finite(t.Tau, t.At) {
			return fmt.Errorf("track %d is malformed", i)
		}
		if (t.Kind >= Mean && t.Kind <= Count || t.Kind == Least) && t.Tau <= 0 {
			return fmt.Errorf("track %d needs a time constant", i)
		}
	}
	for i, f := range in.Features {
		if f.Form < Plain || f.Form > Excess || int(f.A) >= len(in.Tracks) || int(f.B) >= len(in.Tracks) || !finite(f.Floor) {
			return fmt.Errorf("feature %d is malformed", i)
		}
		if f.Form == Spread && in.Tracks[f.A].slots() != 2 || f.Form == Sigma && in.Tracks[f.B].slots() != 2 {
			return fmt.Errorf("feature %d needs a track with a spread", i)
		}
		if f.Form >= Ratio && f.Floor <= 0 {
			return fmt.Errorf("feature %d needs a floor above zero", i)
		}
	}
	return nil
}

func finite(xs ...float64) bool {
	for _, x := range xs {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}
