package health

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// mark is what is held against a device, kept up by its entries.
type mark struct {
	Home     string             `json:"home"`
	Device   string             `json:"device"`
	Shown    float64            `json:"shown"` // the score shown at At
	At       time.Time          `json:"at"`    // of the last event
	Away     *time.Time         `json:"away,omitempty"`
	Symptoms map[string]Symptom `json:"symptoms,omitempty"` // by metric and instance
	Load     float64            `json:"load,omitempty"`     // late faults, faded, as of LoadAt
	LoadAt   time.Time          `json:"load_at"`
	Risk     float64            `json:"risk,omitempty"` // probability of a fault ahead; 0 when none was raised
	Problem  string             `json:"problem,omitempty"`
	Cohort   string             `json:"cohort,omitempty"`
	Segment  protocol.Segment   `json:"segment,omitempty"` // verdict of the last diagnosis,
	Judged   time.Time          `json:"judged"`            // of this time
}

// maxSymptoms bounds a mark; more signals than these out of range make nothing worse.
const maxSymptoms = 32

var marks = store.NewTable("health_marks", store.Spec[mark]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(m *mark) store.Key { return store.Key{m.Home, m.Device} },
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{marks, signs, incidents, parts, censuses} }

// Rules are the reactions that keep the scores and note who vanishes.
func (h *Watch) Rules() []timeline.Rule {
	var rules []timeline.Rule
	on := func(kind cloud.Kind, do func(m *mark, e *cloud.Entry)) {
		rules = append(rules, timeline.Rule{On: kind, Name: "health marks a device", Do: marking(do)})
	}
	fault := func(m *mark, e *cloud.Entry) {
		if m.Load == 0 || e.At.Sub(m.LoadAt) >= Apart { // a bad line comes and goes; that is one fault
			m.Load, m.LoadAt = m.load(e.At)+1, e.At
		}
	}
	on(cloud.Kind(protocol.EventSymptom), func(m *mark, e *cloud.Entry) {
		key := e.Args["metric"] + "{" + e.Args["instance"] + "}"
		if _, again := m.Symptoms[key]; !again && len(m.Symptoms) == 0 {
			fault(m, e) // the first signal of a fault
		}
		if m.Symptoms == nil {
			m.Symptoms = map[string]Symptom{}
		}
		if len(m.Symptoms) < maxSymptoms {
			m.Symptoms[key] = Symptom{
				Metric: e.Args["metric"], Instance: e.Args["instance"], Since: e.At,
				Value: number(e.Args["value"]), Normal: number(e.Args["normal"]),
			}
		}
	})
	on(cloud.Kind(protocol.EventSymptomOver), func(m *mark, e *cloud.Entry) {
		delete(m.Symptoms, e.Args["metric"]+"{"+e.Args["instance"]+"}")
	})
	on(cloud.KindDeviceOffline, func(m *mark, e *cloud.Entry) {
		at := e.At
		m.Away = &at
		fault(m, e)
	})
	on(cloud.KindDeviceOnline, func(m *mark, e *cloud.Entry) { m.Away = nil })
	on(cloud.KindRiskRaised, func(m *mark, e *cloud.Entry) {
		if e.Risk != nil {
			m.Risk = e.Risk.Probability
		}
	})
	on(cloud.KindRiskCleared, func(m *mark, e *cloud.Entry) { m.Risk = 0 })
	on(cloud.Kind(protocol.EventFixFailed), fault)
	on(cloud.Kind(protocol.EventFixVerified), func(m *mark, e *cloud.Entry) { m.Segment = "" })
	on(cloud.KindProblemLinked, func(m *mark, e *cloud.Entry) {
		m.Problem, m.Cohort = e.Subject(cloud.RefProblem), e.Args["cohort"]
	})
	on(cloud.Kind(protocol.EventDiagnosis), func(m *mark, e *cloud.Entry) {
		if e.Diagnosis != nil {
			m.Segment, m.Judged = e.Diagnosis.Verdict.Segment, e.At
		}
	})
	return append(rules,
		timeline.Rule{On: cloud.KindProblemClosed, Name: "health clears a problem", Do: clearProblem},
		timeline.Rule{On: cloud.KindDeviceOffline, Name: "health notes who vanishes", Do: h.vanished},
		timeline.Rule{On: cloud.KindDeviceOnline, Name: "health notes who is back", Do: h.returned},
	)
}

// marking makes a change of the mark of the device that an entry is about a reaction.
func marking(do func(m *mark, e *cloud.Entry)) timeline.Reaction {
	return func(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
		device := e.Device()
		if device == "" {
			return nil, nil
		}
		m, err := markOf(tx, e.Home, device)
		if err != nil {
			return nil, err
		}
		m.change(e.At, func() { do(&m, e) })
		return nil, marks.Put(tx, &m)
	}
}

// clearProblem takes the problem off every device of the home: the entry is about the home.
func clearProblem(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	var linked []mark
	for m, err := range marks.Scan(tx, store.Range{Prefix: store.Key{e.Home}}) {
		if err != nil {
			return nil, err
		}
		if m.Problem != "" && m.Problem == e.Subject(cloud.RefProblem) {
			linked = append(linked, m)
		}
	}
	for _, m := range linked {
		m.change(e.At, func() { m.Problem, m.Cohort = "", "" })
		if err := marks.Put(tx, &m); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func markOf(tx store.Tx, home, device string) (mark, error) {
	m, err := marks.Get(tx, home, device)
	if errors.Is(err, store.ErrNotFound) {
		return mark{Home: home, Device: device}, nil
	}
	return m, err
}

func number(s string) *float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != f || f-f != 0 { // NaN and infinities say nothing
		return nil
	}
	return &f
}

// Device returns a device's health; ok is false when nothing was ever heard that it could be judged by.
func (h *Watch) Device(tx store.Tx, home cloud.Home, device string, now time.Time) (_ Health, ok bool, err error) {
	m, err := marks.Get(tx, home.ID, device)
	if errors.Is(err, store.ErrNotFound) {
		return Health{}, false, nil
	}
	if err != nil {
		return Health{}, false, fmt.Errorf("health of device %s: %w", device, err)
	}
	out := m.health(now)
	if len(out.Reasons) > 0 {
		s, err := h.scene(tx, home, &m, now, now)
		if err != nil {
			return Health{}, false, err
		}
		out.Blame = Blame(s)
	}
	return out, true, nil
}

// Home returns the health of a home from that of its devices; ok is false when none can be judged.
func (h *Watch) Home(tx store.Tx, home cloud.Home, now time.Time) (_ Health, ok bool, err error) {
	var devices []Health
	worst := Health{Score: 101}
	for m, err := range marks.Scan(tx, store.Range{Prefix: store.Key{home.ID}}) {
		if err != nil {
			return Health{}, false, fmt.Errorf("health of home %s: %w", home.ID, err)
		}
		d, _, err := h.Device(tx, home, m.Device, now)
		if err != nil {
			return Health{}, false, err
		}
		devices = append(devices, d)
		if d.Score < worst.Score {
			worst = d
		}
	}
	if len(devices) == 0 {
		return Health{}, false, nil
	}
	out := together(devices)
	out.Blame = worst.Blame
	return out, true, nil
}
