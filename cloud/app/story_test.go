package app

import (
	"slices"
	"testing"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func slowResolver(w *world) protocol.EntryID {
	w.measured(map[string]float64{
		"dns.latency_ms{10.0.0.1}": 812, "dns.failure_ratio{10.0.0.1}": 0, "dns.active{10.0.0.1}": 1,
		"dns.latency_ms{10.0.0.2}": 31, "dns.failure_ratio{10.0.0.2}": 0, "dns.active{10.0.0.2}": 0,
		"dns.latency_ms{10.0.0.3}": 9, "dns.failure_ratio{10.0.0.3}": 0.6, "dns.active{10.0.0.3}": 0,
	})
	return w.says(protocol.EventSymptom, map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "812", "normal": "14"})
}

func lossyUplink(w *world) protocol.EntryID {
	w.measured(map[string]float64{
		"wan.loss_ratio": 0.2, "route.default{eth0}": 1, "route.default{lte0}": 0, "iface.carrier{eth0}": 1, "iface.carrier{lte0}": 1,
	})
	return w.says(protocol.EventSymptom, map[string]string{"metric": "wan.loss_ratio", "value": "0.2", "normal": "0"})
}

// fixes plays the hub: it applies the fix that was chosen last, and says how it ended.
func (w *world) fixes(ends protocol.EventKind) {
	w.t.Helper()
	chosen := w.last(cloud.KindFixChosen)
	args := map[string]string{"command": chosen.Args["command"], "plan": chosen.Args["plan"], "action": chosen.Args["action"]}
	applied := w.says(protocol.EventFixApplied, args, because(chosen.ID))
	w.says(ends, args, because(applied))
}

func (w *world) diagnoses(segment protocol.Segment, code string) protocol.EntryID {
	w.t.Helper()
	asked := w.last(cloud.KindDiagnosisAsked)
	return w.says(protocol.EventDiagnosis, map[string]string{"command": asked.Args["command"]}, because(asked.ID), func(e *cloud.Entry) {
		e.Diagnosis = &protocol.Diagnosis{
			Request: protocol.DiagnosisRequest{Kind: "connection"},
			Verdict: protocol.Verdict{Segment: segment, Code: code},
		}
	})
}

func TestASlowResolverIsReplacedAndTheCustomerIsTold(t *testing.T) {
	w := newWorld(t)
	root := slowResolver(w)
	chosen := w.last(cloud.KindFixChosen)
	if chosen.Args["plan"] != "switch-resolver" || chosen.Args["choice"] != "resolver=10.0.0.2" {
		t.Fatalf("chose %s with %s; want the resolver that answers fast and without failures", chosen.Args["plan"], chosen.Args["choice"])
	}
	w.fixes(protocol.EventFixVerified)
	told := w.last(cloud.KindCustomerTold)
	var chain []cloud.Kind
	err := w.db.View(t.Context(), tenant, func(tx store.Tx) error {
		entries, err := timeline.Why(tx, home, told.ID)
		for _, e := range entries {
			chain = append(chain, e.Kind)
		}
		if last := entries[len(entries)-1]; last.ID != root {
			t.Errorf("the walk ends at %s, want the symptom", last.Kind)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []cloud.Kind{"customer.told", "fix.verified", "fix.applied", "fix.chosen", "symptom.seen"}
	if !slices.Equal(chain, want) {
		t.Errorf("the customer was told because of %v, want %v", chain, want)
	}
	if w.count(cloud.KindTicketOpened) != 0 {
		t.Error("a ticket was opened for what was fixed")
	}
}

func TestWhatNoFixSolvesEndsInOneTicketWithItsDiagnosis(t *testing.T) {
	w := newWorld(t)
	lossyUplink(w)
	var tried []string
	for range 3 {
		chosen := w.last(cloud.KindFixChosen)
		tried = append(tried, chosen.Args["plan"]+" "+chosen.Args["choice"])
		w.fixes(protocol.EventFixRolledBack)
	}
	if want := []string{"renew-dhcp target=eth0", "bounce-uplink target=eth0", "fail-over target=lte0"}; !slices.Equal(tried, want) {
		t.Fatalf("tried %v, want the gentle one first and none twice: %v", tried, want)
	}
	if e := w.last(cloud.KindFixUnavailable); e.Args["reason"] != "all_tried" {
		t.Errorf("no fix is left because of %q", e.Args["reason"])
	}
	done := w.diagnoses(protocol.SegmentISP, "uplink.loss")
	opened := w.last(cloud.KindTicketOpened)
	if opened.Args["segment"] != "isp" || !slices.Contains(opened.Because, done) {
		t.Errorf("the ticket blames %q because of %v, want isp because of the diagnosis", opened.Args["segment"], opened.Because)
	}
	if n := len(opened.Because); n != 4 {
		t.Errorf("the ticket names %d causes, want the diagnosis and three fixes that were tried in vain", n)
	}
	if told := w.last(cloud.KindCustomerTold); told.Because[0] != opened.ID {
		t.Error("the customer was not told of the ticket")
	}

	lossyUplink(w) // the same again, while a person has it
	if n := w.count(cloud.KindTicketOpened); n != 1 {
		t.Errorf("%d tickets, want 1", n)
	}
	if n := w.count(cloud.KindFixChosen); n != 3 {
		t.Errorf("%d fixes, want 3: a person has the matter", n)
	}
	slowResolver(w) // another matter
	if e := w.last(cloud.KindFixChosen); e.Args["plan"] != "switch-resolver" {
		t.Errorf("chose %s while a ticket about the uplink is open; want the resolver fixed", e.Args["plan"])
	}
}

// closesTicket plays the person who solved the ticket that was opened last.
func (w *world) closesTicket() {
	w.t.Helper()
	w.update(func(tx store.Tx) error {
		opened := w.last(cloud.KindTicketOpened)
		return w.timeline.Append(tx, cloud.Entry{
			Home: home, Kind: cloud.KindTicketClosed, Actor: cloud.Ref{Type: cloud.RefStaff, ID: "s"},
			Subjects: opened.Subjects, Args: map[string]string{"ticket": opened.Args["ticket"], "reason": "called"},
		})
	})
}

func TestAFixThatFailedIsNotTriedAgainOnThisDevice(t *testing.T) {
	w := newWorld(t)
	slowResolver(w)
	w.fixes(protocol.EventFixRolledBack)
	w.diagnoses(protocol.SegmentHome, "resolver.slow")
	w.closesTicket() // so the next symptom is a new case
	slowResolver(w)
	w.until(cloud.KindDiagnosisAsked, 2)
	if n := w.count(cloud.KindFixChosen); n != 1 {
		t.Errorf("%d fixes chosen, want 1", n)
	}
}

func TestAFixThatFailedWhileTheProviderWasAtFaultMayBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	slowResolver(w)
	w.fixes(protocol.EventFixRolledBack)
	w.diagnoses(protocol.SegmentISP, "uplink.loss")
	w.closesTicket()
	slowResolver(w)
	w.until(cloud.KindFixChosen, 2)
	if e := w.last(cloud.KindFixChosen); e.Args["plan"] != "switch-resolver" {
		t.Errorf("chose %s, want switch-resolver once more", e.Args["plan"])
	}
}

func TestADiagnosisThatFindsNothingWrongOpensNoTicket(t *testing.T) {
	w := newWorld(t)
	odd := map[string]string{"metric": "wan.rtt_ms", "value": "400", "normal": "20"}
	w.says(protocol.EventSymptom, odd)
	if e := w.until(cloud.KindFixUnavailable, 1); e.Args["reason"] != "no_plan" {
		t.Fatalf("reason is %q", e.Args["reason"])
	}
	w.diagnoses(protocol.SegmentNone, "all.well")
	w.says(protocol.EventSymptom, odd) // it flickers
	if w.count(cloud.KindTicketOpened) != 0 || w.count(cloud.KindDiagnosisAsked) != 1 {
		t.Errorf("a flicker made %d tickets and %d diagnoses, want 0 and 1:\n%s", w.count(cloud.KindTicketOpened), w.count(cloud.KindDiagnosisAsked), w.story())
	}
}

func TestAFaultThatShowsFirstWhereNoPlanFitsIsStillFixed(t *testing.T) {
	w := newWorld(t)
	first := w.says(protocol.EventSymptom, map[string]string{"metric": "wan.rtt_ms", "value": "400", "normal": "20"})
	lossyUplink(w)
	if e := w.last(cloud.KindFixChosen); e.Args["plan"] != "renew-dhcp" {
		t.Errorf("chose %s", e.Args["plan"])
	}
	for range 3 {
		w.fixes(protocol.EventFixRolledBack)
	}
	w.diagnoses(protocol.SegmentISP, "uplink.loss")
	for range 2 { // the same fault, seen elsewhere: it belongs to the ticket
		w.says(protocol.EventSymptom, map[string]string{"metric": "cloud.loss_ratio", "value": "0.3"})
		w.says(protocol.EventSymptom, map[string]string{"metric": "cloud.rtt_ms", "value": "900"})
	}
	if n := w.count(cloud.KindDiagnosisAsked); n != 1 || first == "" {
		t.Errorf("%d diagnoses, want 1:\n%s", n, w.story())
	}
}

func TestAFixThatHeldByLuckDoesNotEndACaseThatStillStands(t *testing.T) {
	w := newWorld(t)
	lossyUplink(w)
	w.measured(map[string]float64{
		"wan.loss_ratio": 0.2, "route.default{eth0}": 1, "dns.latency_ms{10.0.0.1}": 812, "dns.active{10.0.0.1}": 1,
		"dns.latency_ms{10.0.0.2}": 31, "dns.active{10.0.0.2}": 0,
	})
	w.says(protocol.EventSymptom, map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "812", "normal": "14"})
	for range 4 {
		if w.last(cloud.KindFixChosen).Args["plan"] == "switch-resolver" {
			break
		}
		w.fixes(protocol.EventFixRolledBack)
	}
	if plan := w.last(cloud.KindFixChosen).Args["plan"]; plan != "switch-resolver" {
		t.Fatalf("chose %s last; want the resolver's plan among those that fit", plan)
	}
	w.fixes(protocol.EventFixVerified)
	if n := w.count(cloud.KindCustomerTold); n != 0 {
		t.Fatal("the customer was told of a fix while the line still loses packets")
	}
	if next := w.until(cloud.KindFixChosen, 3); next.Args["plan"] != "bounce-uplink" || next.Because[0] != w.last("fix.verified").ID {
		t.Errorf("went on with %s because of %v, want the next plan for the line", next.Args["plan"], next.Because)
	}
	w.fixes(protocol.EventFixRolledBack)
	w.until(cloud.KindDiagnosisAsked, 1)
	w.diagnoses(protocol.SegmentISP, "uplink.loss")
	opened := w.last(cloud.KindTicketOpened)
	if n := w.count(cloud.KindCustomerTold); n != 1 || len(opened.Because) < 3 {
		t.Errorf("told %d times, the ticket names %d causes; want one word, of the ticket, with the fixes tried in vain", n, len(opened.Because))
	}
}

func TestWhatFollowsAFixThatHeldIsToldWithIt(t *testing.T) {
	w := newWorld(t)
	slowResolver(w)
	odd := map[string]string{"metric": "cloud.rtt_ms", "value": "900", "normal": "30"}
	w.says(protocol.EventSymptom, odd) // the resolver's fault shows here too
	w.measured(map[string]float64{"cloud.rtt_ms": 35})
	w.fixes(protocol.EventFixVerified)
	told := w.until(cloud.KindCustomerTold, 1)
	if verified := w.last("fix.verified"); told.Because[0] != verified.ID {
		t.Errorf("told because of %v", told.Because)
	}
	if n := w.count(cloud.KindFixChosen); n != 1 {
		t.Errorf("%d fixes chosen, want 1", n)
	}
}

func TestASymptomThatGoesAwayWhileItsCaseGathersAsksNothingOfTheHub(t *testing.T) {
	w := newWorld(t)
	odd := map[string]string{"metric": "wan.rtt_ms", "value": "400", "normal": "20"}
	w.says(protocol.EventSymptom, odd)
	w.says(protocol.EventSymptomOver, odd)
	w.says(protocol.EventSymptom, map[string]string{"metric": "gateway.rtt_ms", "value": "90"})
	w.says(protocol.EventSymptomOver, map[string]string{"metric": "gateway.rtt_ms", "value": "2"})
	w.untilNoTimer("remedy-look")
	if n := len(w.entries()); n != 4 {
		t.Errorf("%d entries, want the four of the hub:\n%s", n, w.story())
	}
}

func TestASymptomThatIsNotOfAConnectionIsOnlyRecorded(t *testing.T) {
	w := newWorld(t)
	w.says(protocol.EventSymptom, map[string]string{"metric": "cpu.busy_ratio", "value": "0.99"})
	if n := len(w.entries()); n != 1 {
		t.Errorf("%d entries, want the symptom alone:\n%s", n, w.story())
	}
}

func TestARiskIsFixedByItsReasonsBeforeAnySymptom(t *testing.T) {
	w := newWorld(t)
	w.measured(map[string]float64{
		"dns.latency_ms{10.0.0.1}": 120, "dns.active{10.0.0.1}": 1, "dns.latency_ms{10.0.0.2}": 8, "dns.active{10.0.0.2}": 0,
	})
	w.says(protocol.EventRisk, nil, func(e *cloud.Entry) {
		e.Risk = &protocol.Risk{Model: "m", Probability: 0.8, HorizonS: 300, Reasons: []protocol.Reason{
			{Feature: "dns_latency", Value: 120, Normal: 12, Share: 0.7}, {Feature: "wan_loss", Share: 0.05},
		}}
	})
	if e := w.last(cloud.KindFixChosen); e.Args["plan"] != "switch-resolver" || e.Args["choice"] != "resolver=10.0.0.2" {
		t.Errorf("chose %s with %s", e.Args["plan"], e.Args["choice"])
	}
}

func TestACommandThatTheHubRefusesLeadsToTheNextFix(t *testing.T) {
	w := newWorld(t)
	lossyUplink(w)
	first := w.last(cloud.KindFixChosen)
	w.says(protocol.EventCommand, map[string]string{"command": first.Args["command"], "reason": "policy"}, because(first.ID))
	if next := w.last(cloud.KindFixChosen); next.ID == first.ID || next.Args["plan"] == first.Args["plan"] {
		t.Errorf("after %s came %s", first.Args["plan"], next.Args["plan"])
	}
}

func TestAnOutcomeThatComesTwiceOrFromAStrangerHasNoEffect(t *testing.T) {
	w := newWorld(t)
	lossyUplink(w)
	chosen := w.last(cloud.KindFixChosen)
	args := map[string]string{"command": chosen.Args["command"]}
	w.says(protocol.EventFixRolledBack, args, func(e *cloud.Entry) {
		e.Actor.ID, e.Subjects = "hub2", []cloud.Ref{{Type: cloud.RefDevice, ID: "hub2"}}
	})
	if n := w.count(cloud.KindFixChosen); n != 1 {
		t.Fatalf("another device moved the case: %d fixes", n)
	}
	for range 3 {
		w.says(protocol.EventFixRolledBack, args)
	}
	if n := w.count(cloud.KindFixChosen); n != 2 {
		t.Errorf("%d fixes chosen after one outcome that came three times, want 2", n)
	}
}
