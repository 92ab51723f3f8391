// Package remedy decides what to do about a connection that is going bad, and sees it through.
//
//	symptom.seen, risk.raised -> fix.chosen -> command.sent -> fix.applied -> fix.verified
//	      fix.rolled_back, .failed, command.refused, .expired -> the next fix, until none is left
//	      fix.unavailable -> diagnosis.asked -> diagnosis.done -> ticket.opened
//
// A case is one such story of one device; whatever else its device reports while it is open belongs to it.
// One fault shows in many signals, and not always first in the one that a plan repairs: so a case for which
// no plan fits yet waits for Gathering before it asks for a diagnosis.
// A plan fits when its signed checks are about what went wrong; gentle plans come first, and a fix that
// failed on a device is not tried again there for FailureMemory. The service can only select among plans
// that somebody with the offline key has signed.
package remedy

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

const (
	// FailureMemory is how long a fix that failed on a device is not tried there again, unless the fault
	// turned out to lie outside the home, where no fix could have reached it.
	FailureMemory = 24 * time.Hour
	// MaxFixes bounds the fixes of one case: after so many, a person should look.
	MaxFixes = 4
	// Gathering is how long a case waits for a symptom that a plan fits.
	Gathering = 3 * time.Second
	// Settling is how long the rest of a case has to follow a fix that held.
	Settling = 5 * time.Second
)

// Commands sends signed commands to devices, until they answer or it is too late.
type Commands interface {
	Send(tx store.Tx, home, planID string, c protocol.Command) (protocol.Command, error)
}

// Options configures a Remedy. All but Now and ICEServers are required.
type Options struct {
	Commands Commands

	Plans map[string]*Plans // by tenant
	Now   func() time.Time  // nil is time.Now

	// Latest returns what a device last reported, or nil when it never did.
	Latest func(tx store.Tx, home, device string) (*protocol.Sample, error)
	// Ticket returns the entry that opens a ticket about what a diagnosis found; code is "" when there is none.
	Ticket func(home, device, code string, segment protocol.Segment, actor cloud.Ref) cloud.Entry
	// OpenTicket returns the ticket of a device that is still open, or "".
	OpenTicket func(tx store.Tx, home, device string) (string, error)
	// Tell returns what follows when the customer is told of an entry, a fix that was all it took.
	Tell func(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error)
	// Judge says whom to blame for a device of which no diagnosis could be had, and whether something that
	// is known already explains it. Wait above zero means that it is too early to tell.
	Judge func(tx store.Tx, home, device string, at time.Time) (Judgement, error)
	// ICEServers returns what a device needs to reach a session from behind its router.
	ICEServers func(session string, life time.Duration) ([]protocol.ICEServer, error)
}

// Judgement is whose fault it is.
type Judgement struct {
	Segment  protocol.Segment
	Incident string // explains it, so that no ticket is due; "" for none
	Wait     time.Duration
}

// Remedy decides. Its reactions are listed in cloud/app. It is safe for concurrent use.
type Remedy struct {
	Options
	now func() time.Time
}

// New returns a Remedy.
func New(opts Options) *Remedy {
	r := &Remedy{opts, opts.Now}
	if r.now == nil {
		r.now = time.Now
	}
	return r
}

var self = cloud.Ref{Type: cloud.RefService, ID: "remedy"}

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

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{episodes, orders} }

// current returns the newest case of a device; ok is false when none is open.
func current(tx store.Tx, home, device string) (c episode, ok bool, err error) {
	for c, err := range episodes.Scan(tx, store.Range{Prefix: store.Key{home, device}, Reverse: true, Limit: 1}) {
		return c, err == nil && c.Stage != stageOver, err
	}
	return c, false, nil
}

// AtRisk tells whether a case is open in which a risk of the device stands.
func (r *Remedy) AtRisk(tx store.Tx, home, device string) (bool, error) {
	c, open, err := current(tx, home, device)
	return open && slices.ContainsFunc(c.Standing, sign{}.same), err
}

// Noticed is the reaction to symptom.seen and risk.raised.
func (r *Remedy) Noticed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	device := e.Device()
	if device == "" {
		return nil, nil
	}
	c, open, err := current(tx, e.Home, device)
	if err != nil {
		return nil, err
	}
	if open && c.Stage == stageTicket {
		// A person has it. Only what has a fix of its own is another matter.
		other := episode{Home: c.Home, Device: c.Device, Metrics: metricsOf(e)}
		_, _, reason, err := r.choose(tx, &other)
		if err != nil {
			return nil, err
		}
		open = reason != "" || !fresh(c.Metrics, other.Metrics)
	}
	if !open {
		worth, err := r.worthACase(tx, c, e)
		if !worth || err != nil {
			return nil, err
		}
		c = episode{Home: e.Home, Device: device, Opened: r.now().UTC(), ID: cloud.NewID(), Stage: stageGathering}
	}
	for _, m := range metricsOf(e) {
		c.Metrics = addOnce(c.Metrics, m)
		if len(c.Focus) > 0 {
			c.Focus = addOnce(c.Focus, m)
		}
	}
	if s := signOf(e); !slices.ContainsFunc(c.Standing, s.same) && len(c.Standing) < maxSigns {
		c.Standing = append(c.Standing, s)
	}
	if len(c.Causes) < protocol.MaxCauses {
		c.Causes = append(c.Causes, e.ID)
	}
	if c.Stage != stageGathering { // it is being worked on already
		return nil, episodes.Put(tx, &c)
	}
	_, _, reason, err := r.choose(tx, &c)
	if err != nil {
		return nil, err
	}
	if reason == "" {
		return r.next(tx, &c, e.ID)
	}
	if !open {
		if err := r.lookAgain(tx, &c, Gathering); err != nil {
			return nil, err
		}
	}
	return nil, episodes.Put(tx, &c)
}

// fresh tells whether one of the metrics is not known yet.
func fresh(known, metrics []string) bool {
	return slices.ContainsFunc(metrics, func(m string) bool { return !slices.Contains(known, m) })
}

// connections are the metrics of what this package is about. A hub that is short of memory has a symptom
// too, but no fix of a connection helps it.
var connections = []string{"gateway.", "wan.", "cloud.", "dns.", "dhcp.", "iface.", "wifi.", "route.", "tcp.", "link."}

// worthACase tells whether an entry should open a case, after the last one of the device.
func (r *Remedy) worthACase(tx store.Tx, last episode, e *cloud.Entry) (bool, error) {
	metrics := metricsOf(e)
	about := e.Risk != nil
	for _, m := range metrics {
		about = about || slices.ContainsFunc(connections, func(p string) bool { return strings.HasPrefix(m, p) })
	}
	if !about {
		return false, nil
	}
	if last.Well == nil || r.now().Sub(*last.Well) > believeWell {
		return true, nil
	}
	// The device has just looked into the same thing and found nothing: something that flickers.
	return fresh(last.Metrics, metrics), nil
}

// believeWell is how long a diagnosis that found nothing wrong is believed.
const believeWell = 15 * time.Minute

// Cleared is the reaction to symptom.cleared and risk.cleared. A fix that is under way is seen through: it
// may be what cleared it.
func (r *Remedy) Cleared(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	c, open, err := current(tx, e.Home, e.Device())
	if !open || err != nil {
		return nil, err
	}
	c.Standing = slices.DeleteFunc(c.Standing, signOf(e).same)
	return nil, episodes.Put(tx, &c)
}

// next chooses the next fix of a case, or says that there is none.
func (r *Remedy) next(tx store.Tx, c *episode, because ...protocol.EntryID) ([]cloud.Entry, error) {
	p, choice, reason, err := r.choose(tx, c)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		c.Stage, c.Command = stageDiagnosing, ""
		return []cloud.Entry{c.entry(cloud.KindFixUnavailable, map[string]string{"reason": reason}, because...)}, episodes.Put(tx, c)
	}
	chosen := c.entry(cloud.KindFixChosen, nil, because...)
	chosen.ID = protocol.EntryID(cloud.NewID())
	cmd, err := r.issue(tx, c.Home, c.Device, p, choice, nil, chosen.ID)
	if err != nil {
		return nil, err
	}
	chosen.Args = map[string]string{"plan": p.ID, "action": p.Action.Kind, "command": cmd.ID}
	if d := describe(choice); d != "" {
		chosen.Args["choice"] = d
	}
	chosen.Subjects = append(chosen.Subjects, cloud.Ref{Type: cloud.RefCommand, ID: cmd.ID})
	c.Stage, c.Command = stageFixing, cmd.ID
	c.Tried = append(c.Tried, attempt{Plan: p.ID, Choice: describe(choice)})
	return []cloud.Entry{chosen}, episodes.Put(tx, c)
}

// choose returns the best fix that was not tried, or a reason why there is none.
func (r *Remedy) choose(tx store.Tx, c *episode) (p signed, choice map[string]string, reason string, err error) {
	plans := r.Plans[tx.Tenant()]
	if plans == nil {
		return p, nil, "no_plan", nil
	}
	metrics := c.Metrics
	if len(c.Focus) > 0 {
		metrics = c.Focus
	}
	fits := plans.fitting(metrics, r.now())
	if len(fits) == 0 {
		return p, nil, "no_plan", nil
	}
	if len(c.Tried) >= MaxFixes {
		return p, nil, "all_tried", nil
	}
	failed, err := r.failed(tx, c)
	if err != nil {
		return p, nil, "", err
	}
	last, err := r.Latest(tx, c.Home, c.Device)
	if err != nil {
		return p, nil, "", err
	}
	reason = "no_choice"
	for _, p := range fits {
		for _, choice := range choices(&p.Plan, last) {
			if slices.Contains(failed, attempt{p.ID, describe(choice), true}) {
				reason = "all_tried"
				continue
			}
			return p, choice, "", nil
		}
	}
	return p, nil, reason, nil
}

// failed lists what was tried in vain: in this case, or on this device not long ago.
func (r *Remedy) failed(tx store.Tx, c *episode) (out []attempt, err error) {
	for _, t := range c.Tried {
		out = append(out, attempt{t.Plan, t.Choice, true}) // tried is enough, within one case
	}
	for old, err := range episodes.Scan(tx, store.Range{Prefix: store.Key{c.Home, c.Device}, From: r.now().Add(-FailureMemory)}) {
		if err != nil {
			return nil, err
		}
		for _, t := range old.Tried {
			if t.Failed {
				out = append(out, t)
			}
		}
	}
	return out, nil
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

// minShare keeps reasons that add next to nothing to a risk from choosing its fix.
const minShare = 0.15

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

// maxSigns bounds what one case remembers.
const maxSigns = 64

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

// ofOrder returns the open case whose command this is.
func ofOrder(tx store.Tx, cmd order) (c episode, ok bool, err error) {
	c, ok, err = current(tx, cmd.Home, cmd.Device)
	return c, ok && c.Command == cmd.ID, err
}

var errNoPlan = errors.New("no plan")
