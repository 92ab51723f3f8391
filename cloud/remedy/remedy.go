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
	"slices"
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

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{episodes, orders} }

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

// minShare keeps reasons that add next to nothing to a risk from choosing its fix.
const minShare = 0.15

// maxSigns bounds what one case remembers.
const maxSigns = 64

// ofOrder returns the open case whose command this is.
func ofOrder(tx store.Tx, cmd order) (c episode, ok bool, err error) {
	c, ok, err = current(tx, cmd.Home, cmd.Device)
	return c, ok && c.Command == cmd.ID, err
}

var errNoPlan = errors.New("no plan")
