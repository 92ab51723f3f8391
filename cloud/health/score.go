// Package health says how well a device and a home are connected, in one figure a person can read, with
// its reasons, and whose fault it is when they are not.
//
// # The score
//
// 100 is a device of which nothing bad is known. What is known takes its part of what is left, one after
// another, so that no list of complaints ends below zero and each has its share of the loss:
//
//	away               80 %
//	a signal out of its normal range   15, 25 or 35 %, by how far; 60 % where it says that something is dead
//	a fault lately     10 % each, half as much a day later
//	a predicted fault  up to half, by its probability
//	a known problem of its kind        15 %
//
// A figure that jumps about is not believed. So it falls at once when it has to fall by at least Step
// points, and not at all for less; and it rises slowly, half of the way every Recovery. Between two
// events it never falls. A signal that comes and goes therefore shows as a low figure, not as a flicker.
//
// A home is as well as its worst device, mostly (seven parts of ten; the rest is the mean of all).
//
// # Blame
//
// Whose fault it is follows from who else is affected and from where the path breaks: see Blame. Many
// homes that vanish at once are one Incident, found by a sweep, and no fault of any of them.
package health

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

const (
	Step     = 3.0              // points that the shown score falls by at least
	Recovery = time.Hour        // in which half of a recovery is shown
	Fading   = 24 * time.Hour   // in which a fault's weight halves
	Apart    = 10 * time.Minute // between two faults; what comes sooner belongs to the first
)

// Reason is one cause of a score below 100. Text puts it in words.
type Reason struct {
	Key      string            `json:"key"` // message key
	Args     map[string]string `json:"args,omitempty"`
	Feature  string            `json:"feature,omitempty"` // metric, where there is one
	Instance string            `json:"instance,omitempty"`
	Value    *float64          `json:"value,omitempty"`
	Normal   *float64          `json:"normal,omitempty"` // what this device usually shows
	Share    float64           `json:"share"`            // of the loss, 0 to 1; all together 1
}

// Health is how well a device or a home is connected.
type Health struct {
	Score   int              `json:"score"`   // 0 to 100
	Reasons []Reason         `json:"reasons"` // largest share first; empty at 100
	Blame   protocol.Segment `json:"blame,omitempty"`
}

// Symptom is a signal out of its normal range.
type Symptom struct {
	Metric   string    `json:"metric"`
	Instance string    `json:"instance,omitempty"`
	Value    *float64  `json:"value,omitempty"`
	Normal   *float64  `json:"normal,omitempty"`
	Since    time.Time `json:"since"`
}

// cost is the part of what is left that a reason takes.
type cost struct {
	part   float64
	reason Reason
}

// costs lists what is held against a device at a time.
func (m *mark) costs(now time.Time) []cost {
	var out []cost
	add := func(part float64, r Reason) {
		if part > 0.005 {
			out = append(out, cost{part, r})
		}
	}
	if m.Away != nil {
		add(0.8, Reason{Key: "health.away", Args: map[string]string{"since": m.Away.Format(time.RFC3339)}})
	}
	// A dead resolver shows for each server: one signal counts once, at its worst.
	worst := map[string]cost{}
	for _, s := range m.Symptoms {
		r := Reason{
			Key: "health.symptom", Feature: s.Metric, Instance: s.Instance, Value: s.Value, Normal: s.Normal,
			Args: map[string]string{"metric": s.Metric, "instance": s.Instance},
		}
		if s.Value != nil {
			r.Args["value"] = strconv.FormatFloat(*s.Value, 'f', -1, 64)
		}
		if s.Normal != nil {
			r.Args["normal"] = strconv.FormatFloat(*s.Normal, 'f', -1, 64)
		}
		if c := (cost{severity(s), r}); c.part > worst[s.Metric].part {
			worst[s.Metric] = c
		}
	}
	for _, c := range worst {
		add(c.part, c.reason)
	}
	if load := m.load(now); load > 0 {
		add(1-math.Pow(0.9, load), Reason{Key: "health.faults", Args: map[string]string{"faults": strconv.Itoa(int(math.Ceil(load)))}})
	}
	if m.Risk > 0 {
		const ordinary = 0.05 // a probability that every device has
		r := Reason{Key: "health.risk", Args: map[string]string{"probability": strconv.FormatFloat(m.Risk, 'f', 3, 64)}}
		add(0.5*(m.Risk-ordinary)/(1-ordinary), r)
	}
	if m.Problem != "" {
		add(0.15, Reason{Key: "health.problem", Args: map[string]string{"cohort": m.Cohort}})
	}
	slices.SortFunc(out, func(a, b cost) int {
		return cmp.Or(cmp.Compare(b.part, a.part), cmp.Compare(a.reason.Key, b.reason.Key), cmp.Compare(a.reason.Feature, b.reason.Feature))
	})
	return out
}

// severity of a symptom by its distance from normal. A metric that says whether something is there at all
// (its normal value is 1) is dead at 0.
func severity(s Symptom) float64 {
	if s.Value == nil || s.Normal == nil {
		return 0.15
	}
	v, n := *s.Value, *s.Normal
	if n == 1 && v == 0 {
		return 0.6
	}
	switch far := math.Abs(v-n) / max(math.Abs(n), 1e-3); {
	case far < 2:
		return 0.15
	case far < 10:
		return 0.25
	default:
		return 0.35
	}
}

// raw is the score that the costs leave, unsmoothed.
func raw(costs []cost) float64 {
	left := 100.0
	for _, c := range costs {
		left *= 1 - min(c.part, 0.99)
	}
	return left
}

// load is the number of late faults, each fading.
func (m *mark) load(now time.Time) float64 {
	if m.Load == 0 {
		return 0
	}
	return m.Load * math.Exp2(-max(now.Sub(m.LoadAt).Hours(), 0)/Fading.Hours())
}

// shown is the smoothed score at a time not before the last event.
func (m *mark) shown(now time.Time) float64 {
	target := raw(m.costs(now))
	if m.At.IsZero() || target <= m.Shown {
		if m.At.IsZero() {
			return target
		}
		return m.Shown // only an event can make it fall
	}
	return target - (target-m.Shown)*math.Exp2(-max(now.Sub(m.At).Seconds(), 0)/Recovery.Seconds())
}

// change lets an event change the mark, and the shown score fall at once if it falls enough.
func (m *mark) change(now time.Time, event func()) {
	if now.Before(m.At) {
		now = m.At
	}
	before := 100.0
	if !m.At.IsZero() {
		before = m.shown(now)
	}
	event()
	m.Shown, m.At = before, now
	if target := raw(m.costs(now)); target <= before-Step {
		m.Shown = target
	}
}

// health is what a person is shown of a device.
func (m *mark) health(now time.Time) Health {
	h := Health{Score: int(math.Round(m.shown(now))), Reasons: []Reason{}}
	costs := m.costs(now)
	total := 0.0
	for _, c := range costs {
		total -= math.Log(1 - min(c.part, 0.99))
	}
	for _, c := range costs {
		c.reason.Share = -math.Log(1-min(c.part, 0.99)) / total
		h.Reasons = append(h.Reasons, c.reason)
	}
	if len(h.Reasons) == 0 && h.Score < 100 {
		h.Reasons = append(h.Reasons, Reason{Key: "health.recovering", Share: 1})
	}
	return h
}

// together is the health of a home, from that of its devices.
func together(devices []Health) Health {
	if len(devices) == 0 {
		return Health{Score: 100, Reasons: []Reason{}}
	}
	worst, mean := 100.0, 0.0
	for _, d := range devices {
		worst = min(worst, float64(d.Score))
		mean += float64(d.Score) / float64(len(devices))
	}
	h := Health{Score: int(math.Round(0.7*worst + 0.3*mean)), Reasons: []Reason{}}
	lost := 0.0
	for _, d := range devices {
		lost += float64(100 - d.Score)
	}
	for _, d := range devices {
		for _, r := range d.Reasons {
			if r.Share *= float64(100-d.Score) / max(lost, 1); r.Share > 0 {
				h.Reasons = append(h.Reasons, r)
			}
		}
	}
	slices.SortStableFunc(h.Reasons, func(a, b Reason) int { return cmp.Compare(b.Share, a.Share) })
	return h
}
