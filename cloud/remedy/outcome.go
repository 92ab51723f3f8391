package remedy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// Verified is the reaction to fix.verified. A fix that held ends its case, and the customer is told, when
// its checks cover all that still stands. What they do not cover has a moment to follow: a line that loses
// packets makes a resolver look slow, and one lucky look at the resolver does not mend the line.
func (r *Remedy) Verified(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	if _, known, err := orderOf(tx, e); err != nil || !known {
		if err != nil || e.Args["command"] != "" {
			return nil, err
		}
		return r.Tell(tx, e) // the hub ran an armed fix by itself
	}
	o, ok, err := finish(tx, e)
	if !ok || err != nil {
		return nil, err
	}
	c, ok, err := ofOrder(tx, o)
	if !ok || err != nil {
		return nil, err
	}
	c.Verified, c.Command = e.ID, ""
	if p, ok := r.Plans[tx.Tenant()].byID(o.Plan); ok {
		c.Standing = slices.DeleteFunc(c.Standing, p.covers)
	}
	if len(c.Standing) == 0 {
		return r.solved(tx, &c)
	}
	c.Stage = stageSettling
	if err := r.lookAgain(tx, &c, Settling); err != nil {
		return nil, err
	}
	return nil, episodes.Put(tx, &c)
}

// covers tells whether a plan's checks prove that a sign is gone. The risk is about the same connection as
// the checks: what else raised it stands as a symptom too.
func (s signed) covers(x sign) bool {
	return x.Metric == "" || slices.ContainsFunc(s.Checks, func(c protocol.Check) bool { return c.Metric == x.Metric })
}

// solved ends a case and tells the customer of the fix that held, if there was one.
func (r *Remedy) solved(tx store.Tx, c *episode, because ...protocol.EntryID) ([]cloud.Entry, error) {
	c.Stage, c.Command = stageOver, ""
	if err := episodes.Put(tx, c); err != nil || c.Verified == "" {
		return nil, err
	}
	fix, err := timeline.Get(tx, c.Home, c.Verified)
	if err != nil {
		return nil, err
	}
	told, err := r.Tell(tx, &fix)
	for i := range told {
		told[i].Home = c.Home
		told[i].Because = append([]protocol.EntryID{fix.ID}, because...)
	}
	return told, err
}

// stillBad keeps the signs that the device's last reading still shows: nearer to what was wrong than to
// what is normal. A sign that cannot be judged so stands until the device takes it back.
func stillBad(signs []sign, last *protocol.Sample) []sign {
	return slices.DeleteFunc(slices.Clone(signs), func(s sign) bool {
		if last == nil || s.Value == nil || s.Normal == nil {
			return false
		}
		now := get(last, s.Metric, s.Instance)
		return math.Abs(now-*s.Normal) < math.Abs(now-*s.Value) // false for NaN
	})
}

// Failed is the reaction to fix.rolled_back, fix.failed, command.refused and command.expired: the next fix.
func (r *Remedy) Failed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	cmd, ok, err := finish(tx, e)
	if !ok || err != nil {
		return nil, err
	}
	c, ok, err := ofOrder(tx, cmd)
	if !ok || err != nil {
		return nil, err
	}
	if cmd.Verb == protocol.VerbDiagnose {
		return r.handOver(tx, &c, protocol.Verdict{Segment: protocol.SegmentUnknown, Code: "no.answer"}, e.ID)
	}
	// A command that never arrived says nothing about its fix, but there is no use in repeating it now.
	if n := len(c.Tried); n > 0 && e.Kind != cloud.KindCommandExpired {
		c.Tried[n-1].Failed = true
	}
	c.Failures = append(c.Failures, e.ID)
	if len(c.Standing) == 0 { // it went away by itself
		return r.solved(tx, &c, e.ID)
	}
	return r.next(tx, &c, e.ID)
}

// Unavailable is the reaction to fix.unavailable: the device is asked where its path breaks.
func (r *Remedy) Unavailable(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	c, ok, err := current(tx, e.Home, e.Device())
	if !ok || err != nil || c.Stage != stageDiagnosing {
		return nil, err
	}
	asked, cmd, err := r.ask(tx, c.Home, c.Device, protocol.DiagnosisRequest{Kind: "connection"}, self, e.ID)
	if err == errNoPlan {
		return r.handOver(tx, &c, protocol.Verdict{Segment: protocol.SegmentUnknown, Code: "no.answer"}, e.ID)
	}
	if err != nil {
		return nil, err
	}
	c.Command = cmd.ID
	return []cloud.Entry{asked}, episodes.Put(tx, &c)
}

// Diagnose returns the entry by which a person asks a device to look into something, and sends the command.
func (r *Remedy) Diagnose(tx store.Tx, home, device string, req protocol.DiagnosisRequest, actor cloud.Ref) (cloud.Entry, string, error) {
	e, cmd, err := r.ask(tx, home, device, req, actor)
	if err == errNoPlan {
		return e, "", cloud.Errorf(cloud.CodeConflict, "no signed plan allows a diagnosis; sign one with hearthctl")
	}
	return e, cmd.ID, err
}

func (r *Remedy) ask(tx store.Tx, home, device string, req protocol.DiagnosisRequest, actor cloud.Ref, because ...protocol.EntryID) (cloud.Entry, order, error) {
	plans := r.Plans[tx.Tenant()]
	if plans == nil {
		return cloud.Entry{}, order{}, errNoPlan
	}
	p, ok := plans.byVerb(protocol.VerbDiagnose)
	if !ok {
		return cloud.Entry{}, order{}, errNoPlan
	}
	choice := map[string]string{"kind": req.Kind}
	if req.Target != "" {
		choice["target"] = req.Target
	}
	wanted := protocol.Command{Choice: choice}
	if _, err := wanted.Diagnosis(&p.Plan); err != nil {
		return cloud.Entry{}, order{}, cloud.Invalid("kind", "%s", err)
	}
	e := cloud.Entry{
		ID: protocol.EntryID(cloud.NewID()), Home: home, Kind: cloud.KindDiagnosisAsked, Actor: actor, Because: because,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: device}},
	}
	cmd, err := r.issue(tx, home, device, p, choice, nil, e.ID)
	if err != nil {
		return e, cmd, err
	}
	e.Args = map[string]string{"kind": req.Kind, "command": cmd.ID}
	if req.Target != "" {
		e.Args["target"] = req.Target
	}
	return e, cmd, nil
}

// Diagnosed is the reaction to diagnosis.done: what no fix could solve goes to a person, with the diagnosis.
func (r *Remedy) Diagnosed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	cmd, ok, err := finish(tx, e)
	if !ok || err != nil {
		return nil, err
	}
	c, ok, err := ofOrder(tx, cmd)
	if !ok || err != nil || e.Diagnosis == nil {
		return nil, err
	}
	v := e.Diagnosis.Verdict
	if v.Segment == protocol.SegmentNone { // all is well, or well again: there is nothing to hand over
		now := r.now().UTC()
		c.Well = &now
		return r.solved(tx, &c, e.ID)
	}
	// A symptom that came while the device was looking may have a fix that was not tried.
	if _, _, reason, err := r.choose(tx, &c); err != nil {
		return nil, err
	} else if reason == "" {
		return r.next(tx, &c, e.ID)
	}
	if v.Segment == protocol.SegmentISP || v.Segment == protocol.SegmentCloud {
		// Nothing in the home could have helped, so what was tried in vain may well help the next time.
		for i := range c.Tried {
			c.Tried[i].Failed = false
		}
	}
	return r.handOver(tx, &c, v, e.ID)
}

// handOver opens a ticket, unless one is open, or what is known already explains the fault.
func (r *Remedy) handOver(tx store.Tx, c *episode, v protocol.Verdict, because ...protocol.EntryID) ([]cloud.Entry, error) {
	c.Command = ""
	j, err := r.Judge(tx, c.Home, c.Device, c.Opened)
	if err != nil {
		return nil, err
	}
	unknown := v.Segment == protocol.SegmentUnknown
	switch {
	case j.Incident != "":
		c.Stage = stageOver
		return nil, episodes.Put(tx, c)
	case unknown && j.Wait > 0:
		c.Stage = stageJudging
		if err := r.lookAgain(tx, c, j.Wait); err != nil {
			return nil, err
		}
		return nil, episodes.Put(tx, c)
	case unknown && j.Segment != "":
		v.Segment = j.Segment
	}
	c.Stage = stageTicket
	if err := episodes.Put(tx, c); err != nil {
		return nil, err
	}
	if old, err := r.OpenTicket(tx, c.Home, c.Device); err != nil || old != "" {
		return nil, err
	}
	e := r.Ticket(c.Home, c.Device, v.Code, v.Segment, self)
	e.Because = because
	for _, f := range c.Failures { // what was tried in vain is why a person is asked
		if !slices.Contains(e.Because, f) && len(e.Because) < protocol.MaxCauses {
			e.Because = append(e.Because, f)
		}
	}
	return []cloud.Entry{e}, nil
}

// QueueLook holds the timers after which a case is looked at again; see Look.
const QueueLook = "remedy-look"

type look struct{ Home, Device, Case, Stage string }

func (r *Remedy) lookAgain(tx store.Tx, c *episode, wait time.Duration) error {
	payload, err := json.Marshal(look{c.Home, c.Device, c.ID, c.Stage})
	if err != nil {
		return err
	}
	due := r.now().Add(wait)
	return store.Enqueue(tx, store.Job{Queue: QueueLook, ID: fmt.Sprintf("%s-%s-%d", c.ID, c.Stage, due.UnixMilli()), Payload: payload, Due: due})
}

// Look is the work of QueueLook: a case that has gathered its symptoms goes on, and one that was too young
// to blame anyone is handed over.
func (r *Remedy) Look(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error {
	var l look
	if err := json.Unmarshal(payload, &l); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueLook, err)
	}
	c, ok, err := current(tx, l.Home, l.Device)
	if !ok || err != nil || c.ID != l.Case || c.Stage != l.Stage {
		return err
	}
	if c.Stage == stageSettling {
		last, err := r.Latest(tx, c.Home, c.Device)
		if err != nil {
			return err
		}
		c.Standing = stillBad(c.Standing, last)
		c.Focus = nil
		for _, s := range c.Standing { // what the fix has cured needs no other one
			if s.Metric != "" {
				c.Focus = addOnce(c.Focus, s.Metric)
			}
		}
	}
	var follows []cloud.Entry
	switch {
	case len(c.Standing) == 0: // it went away, by itself or with the fix
		follows, err = r.solved(tx, &c)
	case c.Stage == stageSettling:
		follows, err = r.next(tx, &c, c.Verified)
	case c.Stage == stageGathering:
		follows, err = r.next(tx, &c, c.Causes...)
	default:
		follows, err = r.handOver(tx, &c, protocol.Verdict{Segment: protocol.SegmentUnknown, Code: "no.answer"}, c.Causes...)
	}
	for _, e := range follows {
		if err == nil {
			err = log(tx, e)
		}
	}
	return err
}

// TicketClosed is the reaction to ticket.closed: what the device reports from now on is a new case.
func (r *Remedy) TicketClosed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	c, ok, err := current(tx, e.Home, e.Device())
	if !ok || err != nil || c.Stage != stageTicket {
		return nil, err
	}
	c.Stage = stageOver
	return nil, episodes.Put(tx, &c)
}

// Assist sends the command by which a device joins a remote session.
func (r *Remedy) Assist(tx store.Tx, s cloud.Session, ends time.Time, because protocol.EntryID) (string, error) {
	plans := r.Plans[tx.Tenant()]
	if plans == nil {
		return "", cloud.Errorf(cloud.CodeConflict, "there are no signed plans")
	}
	p, ok := plans.byVerb(protocol.VerbAssist)
	if !ok {
		return "", cloud.Errorf(cloud.CodeConflict, "no signed plan allows a remote session; sign one with hearthctl")
	}
	a := protocol.Assist{Session: s.ID, Allow: s.Allow, EndsAt: ends.Unix()}
	if r.ICEServers != nil {
		var err error
		if a.ICEServers, err = r.ICEServers(s.ID, ends.Sub(r.now())); err != nil {
			return "", err
		}
	}
	cmd, err := r.issue(tx, s.Home, s.Device, p, nil, &a, because)
	return cmd.ID, err
}
