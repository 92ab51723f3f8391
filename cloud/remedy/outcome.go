package remedy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Verified is the reaction to fix.verified: the case is over.
func (r *Remedy) Verified(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	cmd, ok, err := finish(tx, e)
	if !ok || err != nil {
		return nil, err
	}
	c, ok, err := ofOrder(tx, cmd)
	if !ok || err != nil {
		return nil, err
	}
	c.Stage, c.Command = stageOver, ""
	return nil, episodes.Put(tx, &c)
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
	if len(c.Standing) == 0 {
		c.Stage, c.Command = stageOver, "" // it went away by itself
		return nil, episodes.Put(tx, &c)
	}
	return r.next(tx, &c, e.ID)
}

// Unavailable is the reaction to fix.unavailable: the device is asked where its path breaks.
func (r *Remedy) Unavailable(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	c, ok, err := current(tx, e.Home, deviceOf(e))
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
		c.Stage, c.Command, c.Well = stageOver, "", &now
		return nil, episodes.Put(tx, &c)
	}
	// A symptom that came while the device was looking may have a fix that was not tried.
	if _, _, reason, err := r.choose(tx, &c); err != nil {
		return nil, err
	} else if reason == "" {
		return r.next(tx, &c, e.ID)
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
	if len(c.Standing) == 0 { // it went away by itself
		c.Stage = stageOver
		return episodes.Put(tx, &c)
	}
	var follows []cloud.Entry
	if c.Stage == stageGathering {
		follows, err = r.next(tx, &c, c.Causes...)
	} else {
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
	c, ok, err := current(tx, e.Home, deviceOf(e))
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
