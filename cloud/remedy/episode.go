package remedy

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Stages of a case.
const (
	stageGathering  = "gathering"
	stageFixing     = "fixing"
	stageSettling   = "settling" // a fix held, but not all that it would have to cure is covered by its checks
	stageDiagnosing = "diagnosing"
	stageJudging    = "judging" // it is too early to blame anyone
	stageTicket     = "ticket"
	stageOver       = "over"
)

// attempt is one fix that was tried.
type attempt struct {
	Plan   string `json:"plan"`
	Choice string `json:"choice"`
	Failed bool   `json:"failed"` // speaks against trying it in the next case
}

// sign is something that a device showed and has not taken back.
type sign struct {
	Metric   string   `json:"metric"` // "" is the risk
	Instance string   `json:"instance,omitempty"`
	Value    *float64 `json:"value,omitempty"`
	Normal   *float64 `json:"normal,omitempty"`
}

func (s sign) same(o sign) bool { return s.Metric == o.Metric && s.Instance == o.Instance }

// episode is a case.
type episode struct {
	Home     string             `json:"home"`
	Device   string             `json:"device"`
	Opened   time.Time          `json:"opened"`
	ID       string             `json:"id"`
	Stage    string             `json:"stage"`
	Causes   []protocol.EntryID `json:"causes"`          // the symptoms and risks it is about
	Metrics  []string           `json:"metrics"`         // what went wrong; see Plans.fitting
	Focus    []string           `json:"focus,omitempty"` // what the next fix is chosen for; empty is all of Metrics
	Standing []sign             `json:"standing"`        // which of it still stands
	Tried    []attempt          `json:"tried"`
	Failures []protocol.EntryID `json:"failures"`           // how these ended, and
	Verified protocol.EntryID   `json:"verified,omitempty"` // the last one that held, if any
	Command  string             `json:"command,omitempty"`  // the one that is out
	Well     *time.Time         `json:"well,omitempty"`     // when a diagnosis found nothing wrong, which ended it
}

var episodes = store.NewTable("episodes", store.Spec[episode]{
	Key:   store.Columns{store.Text("home"), store.Text("device"), store.Time("opened"), store.Text("episode")},
	KeyOf: func(c *episode) store.Key { return store.Key{c.Home, c.Device, c.Opened, c.ID} },
})

// current returns the newest case of a device; ok is false when none is open.
func current(tx store.Tx, home, device string) (c episode, ok bool, err error) {
	for c, err := range episodes.Scan(tx, store.Range{Prefix: store.Key{home, device}, Reverse: true, Limit: 1}) {
		return c, err == nil && c.Stage != stageOver, err
	}
	return c, false, nil
}

// metricsOf lists what an entry says is going wrong.
func metricsOf(e *cloud.Entry) (out []string) {
	if m := e.Args["metric"]; m != "" {
		out = append(out, m)
	}
	if e.Risk == nil {
		return out
	}
	for _, reason := range e.Risk.Reasons {
		if reason.Share < minShare {
			continue
		}
		out = append(out, reason.Feature)
		for _, v := range e.Evidence { // names the metric behind the feature
			if sameSignal(reason.Feature, v.Metric) {
				out = addOnce(out, v.Metric)
			}
		}
	}
	if len(e.Evidence) > 0 {
		out = addOnce(out, e.Evidence[0].Metric) // of the largest share
	}
	return out
}

// signOf returns what an entry shows.
func signOf(e *cloud.Entry) sign {
	s := sign{Metric: e.Args["metric"], Instance: e.Args["instance"]}
	for _, f := range []struct {
		to  **float64
		arg string
	}{{&s.Value, "value"}, {&s.Normal, "normal"}} {
		if v, err := strconv.ParseFloat(e.Args[f.arg], 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			*f.to = &v
		}
	}
	return s
}

func addOnce(list []string, s string) []string {
	if slices.Contains(list, s) || len(list) >= maxSigns {
		return list
	}
	return append(list, s)
}

func (c *episode) entry(kind cloud.Kind, args map[string]string, because ...protocol.EntryID) cloud.Entry {
	return cloud.Entry{
		Home: c.Home, Kind: kind, Actor: self, Args: args, Because: because,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.Device}},
	}
}
