package health

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func TestABrokerRestartWithAHundredThousandDevicesOpensNoTicketAndOneIncident(t *testing.T) {
	const fleet = 100_000
	w := newTown(t, fleet)
	w.sweep()
	// The broker is gone for longer than any hub is waited for, so that every single one is missed.
	down := w.now
	var gone []store.Work
	every := make([]int, fleet)
	for i := range every {
		every[i] = i
		gone = append(gone, w.entry(i, down.Add(time.Duration(i%2000)*time.Millisecond), cloud.KindDeviceOffline, nil))
	}
	w.now = down.Add(2*time.Minute + 2*time.Second)
	w.batch(gone...)
	if n := w.tickets(every[:2000], down.Add(2*time.Second)); n != 0 {
		t.Fatalf("%d tickets before anyone could know", n)
	}
	for range 3 {
		w.sweep()
		w.now = w.now.Add(time.Minute)
	}
	if n := w.tickets(every, down); n != 0 {
		t.Errorf("%d tickets during the outage", n)
	}
	var back []store.Work
	for i := range every {
		back = append(back, w.entry(i, w.now.Add(time.Duration(i%100)*time.Second), cloud.KindDeviceOnline, nil))
	}
	w.now = w.now.Add(2 * time.Minute)
	w.batch(back...)
	for range 3 {
		w.sweep()
		w.now = w.now.Add(time.Minute)
	}
	if n := w.tickets(every, down); n != 0 {
		t.Errorf("%d tickets after the outage", n)
	}
	all := w.incidents()
	if len(all) != 1 || all[0].Segment != protocol.SegmentCloud || all[0].Homes != fleet || all[0].To == nil || all[0].Region+all[0].ISP != "" {
		t.Errorf("incidents %+v, want one of our own, over", all)
	}
}

func TestDevicesThatVanishOneByOneAreEachTheirOwnMatter(t *testing.T) { // the control of the test above
	w := newTown(t, 3000)
	w.sweep()
	var some []int
	for i := 0; i < 3000; i += 250 {
		some = append(some, i)
		w.batch(w.entry(i, w.now, cloud.KindDeviceOffline, nil))
	}
	vanished := w.now
	for range 4 {
		w.now = w.now.Add(time.Minute)
		w.sweep()
	}
	if n, all := w.tickets(some, vanished), w.incidents(); n != len(some) || len(all) != 0 {
		t.Errorf("%d tickets for %d devices, incidents %+v", n, len(some), all)
	}
}

func TestAnIncidentIsNamedByItsPlace(t *testing.T) {
	for _, c := range []struct {
		name     string
		hit      func(i int, h cloud.Home) bool
		want     Incident
		none     bool
		alsoElse int // homes elsewhere that vanish for reasons of their own
	}{
		{name: "a region", hit: func(_ int, h cloud.Home) bool { return h.Region == "r2" }, want: Incident{Region: "r2", Segment: protocol.SegmentISP}},
		{name: "most of a region, and a few others", hit: func(i int, h cloud.Home) bool { return h.Region == "r2" && i%3 != 0 }, alsoElse: 4, want: Incident{Region: "r2", Segment: protocol.SegmentISP}},
		{name: "a provider", hit: func(_ int, h cloud.Home) bool { return h.ISP == "isp1" }, want: Incident{ISP: "isp1", Segment: protocol.SegmentISP}},
		{name: "a provider in a region", hit: func(_ int, h cloud.Home) bool { return h.ISP == "isp1" && h.Region == "r0" }, want: Incident{Region: "r0", ISP: "isp1", Segment: protocol.SegmentISP}},
		{name: "everybody", hit: func(int, cloud.Home) bool { return true }, want: Incident{Segment: protocol.SegmentCloud}},
		{name: "every tenth, everywhere: one broker of ten", hit: func(i int, _ cloud.Home) bool { return uint32(i)*2654435761>>16%10 == 0 }, want: Incident{Segment: protocol.SegmentCloud}},
		{name: "four homes", hit: func(i int, _ cloud.Home) bool { return i < 4 }, none: true},
		{name: "nobody", hit: func(int, cloud.Home) bool { return false }, none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t, 1200)
			at := w.now
			var work []store.Work
			for i, h := range w.homes {
				if c.hit(i, h) {
					work = append(work, w.entry(i, at, cloud.KindDeviceOffline, nil))
				} else if c.alsoElse > 0 && h.Region != "r2" && i%97 == 0 {
					c.alsoElse--
					work = append(work, w.entry(i, at, cloud.KindDeviceOffline, nil))
				}
			}
			w.now = w.now.Add(2 * time.Minute)
			w.batch(work...)
			w.sweep()
			w.sweep()
			all := w.incidents()
			if c.none {
				if len(all) != 0 {
					t.Errorf("incidents %+v", all)
				}
				return
			}
			if len(all) != 1 {
				t.Fatalf("%d incidents: %+v", len(all), all)
			}
			got := Incident{Region: all[0].Region, ISP: all[0].ISP, Segment: all[0].Segment}
			if got != c.want || !all[0].From.Equal(at) {
				t.Errorf("got %+v from %v, want %+v from %v", got, all[0].From, c.want, at)
			}
		})
	}
}

func TestBlameFollowsFromWhoElseIsAffectedAndWhereThePathBreaks(t *testing.T) {
	region := &Incident{Region: "r1", Segment: protocol.SegmentISP}
	ours := &Incident{Segment: protocol.SegmentCloud}
	for _, c := range []struct {
		name string
		s    Scene
		want protocol.Segment
	}{
		{"our service is down for everybody", Scene{Incident: ours, Away: true, Verdict: protocol.SegmentISP}, protocol.SegmentCloud},
		{"a region is down, and the hub suspects its router", Scene{Incident: region, Verdict: protocol.SegmentHome}, protocol.SegmentISP},
		{"the hub found its router silent", Scene{Verdict: protocol.SegmentHome, Failing: true, Homes: 500}, protocol.SegmentHome},
		{"it cannot reach us, but all others can", Scene{Verdict: protocol.SegmentCloud, Failing: true, Homes: 500}, protocol.SegmentISP},
		{"it cannot reach us, and there is nobody to compare with", Scene{Verdict: protocol.SegmentCloud, Failing: true, Homes: 1}, protocol.SegmentCloud},
		{"all of the home is away", Scene{Away: true, Others: 3, Missing: 3}, protocol.SegmentHome},
		{"one device of many is away", Scene{Away: true, Others: 3}, protocol.SegmentDevice},
		{"some are away", Scene{Away: true, Others: 3, Missing: 1}, protocol.SegmentUnknown},
		{"the only device is away", Scene{Away: true}, protocol.SegmentUnknown},
		{"it was well when it last looked, and is away now", Scene{Away: true, Verdict: protocol.SegmentNone}, protocol.SegmentUnknown},
		{"it looked, and all is well", Scene{Verdict: protocol.SegmentNone, Failing: true}, protocol.SegmentNone},
		{"nothing is held against it", Scene{}, protocol.SegmentNone},
		{"something is, and nobody looked", Scene{Failing: true}, protocol.SegmentUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Blame(c.s); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAScoreTellsTheStoryOfAFault(t *testing.T) {
	w := newTown(t, 1)
	score := func() (h Health) {
		t.Helper()
		w.view(func(tx store.Tx) (err error) {
			var ok bool
			if h, ok, err = w.h.Device(tx, w.homes[0], device(0), w.now); !ok {
				h.Score = -1
			}
			return err
		})
		return h
	}
	if got := score(); got.Score != -1 {
		t.Errorf("a device that nothing is known of scores %d", got.Score)
	}
	w.batch(w.entry(0, w.now, cloud.KindDeviceOnline, nil))
	if got := score(); got.Score != 100 || len(got.Reasons) != 0 {
		t.Errorf("a healthy device: %+v", got)
	}
	slow := map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "812", "normal": "14"}
	w.batch(w.entry(0, w.now, cloud.Kind(protocol.EventSymptom), slow))
	ill := score()
	if ill.Score > 70 || ill.Score < 50 || ill.Reasons[0].Feature != "dns.latency_ms" || *ill.Reasons[0].Value != 812 {
		t.Errorf("with a slow resolver: %+v", ill)
	}
	if got := Text("zh-CN", ill.Reasons[0]); got != "域名解析时间（DNS）（10.0.0.1）812 ms，平时为 14 ms" && !strings.Contains(got, "812 ms") {
		t.Errorf("in words: %s", got)
	}
	w.now = w.now.Add(time.Minute)
	w.batch(w.entry(0, w.now, cloud.Kind(protocol.EventSymptomOver), slow))
	if got := score(); got.Score > ill.Score+5 {
		t.Errorf("a minute after the fix it jumps from %d to %d", ill.Score, got.Score)
	}
	w.now = w.now.Add(Recovery)
	half := score()
	w.now = w.now.Add(48 * time.Hour)
	well := score()
	if half.Score <= ill.Score+5 || half.Score >= well.Score || well.Score < 95 {
		t.Errorf("recovers from %d over %d to %d", ill.Score, half.Score, well.Score)
	}
}

func TestALineThatFlapsIsOneFault(t *testing.T) {
	w := newTown(t, 2)
	for i := range 100 {
		args := map[string]string{"metric": "wan.loss_ratio"}
		kind := cloud.Kind(protocol.EventSymptom)
		if i%2 == 1 {
			kind = cloud.Kind(protocol.EventSymptomOver)
		}
		w.batch(w.entry(0, w.now, kind, args))
		if i < 2 {
			w.batch(w.entry(1, w.now, kind, args))
		}
		w.now = w.now.Add(5 * time.Second)
	}
	w.view(func(tx store.Tx) error {
		flapping, _, err := w.h.Device(tx, w.homes[0], device(0), w.now)
		if err != nil {
			return err
		}
		once, _, err := w.h.Device(tx, w.homes[1], device(1), w.now)
		if flapping.Score < once.Score-10 || len(flapping.Reasons) != 1 || flapping.Reasons[0].Args["faults"] != "1" {
			t.Errorf("flapping %+v, once %+v", flapping, once)
		}
		return err
	})
}

func TestAScoreIsStableAndItsReasonsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		m := mark{}
		last := 100
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 7200).Draw(t, "seconds")) * time.Second)
			quiet := m.health(now)
			if quiet.Score < last {
				t.Fatalf("fell from %d to %d though nothing happened", last, quiet.Score)
			}
			before := m.shown(now)
			m.change(now, func() {
				switch rapid.IntRange(0, 5).Draw(t, "event") {
				case 0:
					at := now
					m.Away = &at
				case 1:
					m.Away = nil
				case 2:
					m.Symptoms = map[string]Symptom{"a": {Metric: "wan.rtt_ms", Since: now}}
				case 3:
					m.Symptoms = nil
				case 4:
					m.Load, m.LoadAt = m.load(now)+1, now
				case 5:
					m.Risk = rapid.Float64Range(0, 1).Draw(t, "risk")
				}
			})
			h := m.health(now)
			if h.Score < 0 || h.Score > 100 {
				t.Fatalf("score %d", h.Score)
			}
			if after := m.shown(now); before-after > 1e-9 && before-after < Step-1e-9 {
				t.Fatalf("fell by %v only", before-after)
			}
			if after := m.shown(now); after > before+1e-9 && before < 100 {
				t.Fatalf("rose at once from %v to %v", before, after)
			}
			sum := 0.0
			for _, r := range h.Reasons {
				sum += r.Share
			}
			if len(h.Reasons) > 0 && math.Abs(sum-1) > 1e-9 {
				t.Fatalf("shares add up to %v: %+v", sum, h.Reasons)
			}
			if h.Score < 97 && len(h.Reasons) == 0 {
				t.Fatalf("%d without a reason", h.Score)
			}
			last = h.Score
		}
	})
}

func TestAHomeIsAsWellAsItsWorstDeviceMostly(t *testing.T) {
	away := Health{Score: 20, Reasons: []Reason{{Key: "health.away", Share: 1}}}
	fine := Health{Score: 100}
	if got := together([]Health{fine, away, fine}); got.Score != 36 || len(got.Reasons) != 1 || got.Reasons[0].Share != 1 {
		t.Errorf("%+v", got)
	}
	if got := together([]Health{fine, fine}); got.Score != 100 || len(got.Reasons) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEveryReasonAndBlameHasWordsInEveryLanguage(t *testing.T) {
	for _, lang := range timeline.Languages {
		for _, key := range []string{"away", "symptom", "faults", "risk", "problem", "recovering"} {
			r := Reason{Key: "health." + key, Args: map[string]string{"since": "2026-05-01T00:00:00Z", "probability": "0.8", "faults": "3", "metric": "x"}}
			if got := Text(lang, r); got == r.Key || got == "" || strings.Contains(got, "?") {
				t.Errorf("%s in %s: %q", r.Key, lang, got)
			}
		}
		for _, s := range []protocol.Segment{protocol.SegmentNone, protocol.SegmentDevice, protocol.SegmentHome, protocol.SegmentISP, protocol.SegmentCloud, protocol.SegmentUnknown} {
			if got := BlameText(lang, s); got == string(s) {
				t.Errorf("%s has no words in %s", s, lang)
			}
		}
	}
}

func TestNumbersThatAreNoneAreLeftOut(t *testing.T) {
	for _, s := range []string{"", "x", "NaN", "Inf", "-Inf"} {
		if number(s) != nil {
			t.Errorf("%q is taken for a number", s)
		}
	}
	if n := number("12.5"); n == nil || *n != 12.5 {
		t.Errorf("12.5 is %v", n)
	}
}
