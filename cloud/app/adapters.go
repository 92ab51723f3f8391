package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway/keyfile"
	"github.com/hearthline/hearthline/cloud/health"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cloud/outbreak"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// commands reaches the gateway, which is built after those who send commands.
type commands struct{ *App }

func (c commands) Send(tx store.Tx, home, planID string, cmd protocol.Command) (protocol.Command, error) {
	return c.gateway.Commands().Send(tx, home, planID, cmd)
}

// enrolment makes enrolment tokens that work for a day.
type enrolment struct{ *App }

const tokenLife = 24 * time.Hour

func (e enrolment) NewToken(ctx context.Context, tenant, device string) (token string, expires time.Time, err error) {
	err = e.db.Update(ctx, tenant, func(tx store.Tx) error {
		d, err := fleet.Device(tx, device)
		if err != nil {
			return err
		}
		token, err = e.gateway.MintToken(tx, d.Home, device, tokenLife)
		return err
	})
	return token, e.now().Add(tokenLife).UTC(), err
}

// signals carries WebRTC set-up.
type signals struct{ *App }

func (s signals) ToDevice(ctx context.Context, tenant, device string, sig protocol.Signal) error {
	return s.relay.ToDevice(ctx, tenant, device, sig)
}

func (s signals) Watch(ctx context.Context, tenant, device, session string, each func(protocol.Signal) error) error {
	return s.relay.Watch(ctx, tenant, device, session, each)
}

func (s signals) ICEServers(session string, life time.Duration) ([]protocol.ICEServer, error) {
	browser, _, err := s.iceServers(session, life)
	return browser, err
}

func (a *App) iceServers(session string, life time.Duration) (browser, device []protocol.ICEServer, err error) {
	if a.turn == nil {
		return nil, nil, nil
	}
	return a.turn.Servers(session, life)
}

// roster is the fleet as outbreak sees it.
type roster struct{}

func (roster) Homes(tx store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error) {
	return fleet.Homes(tx, after, limit)
}

func (roster) Devices(tx store.Tx, home string) ([]cloud.Device, error) {
	return fleet.Devices(tx, home)
}

func (roster) Heard(tx store.Tx, home, device string, now time.Time) (time.Time, error) {
	s, err := fleet.StateOf(tx, home, device)
	if s.Online {
		return now, err
	}
	return s.Since, err
}

func (roster) Home(tx store.Tx, id string) (cloud.Home, error) { return fleet.Home(tx, id) }

// incidents is health as outbreak sees it.
type incidents struct{ *App }

func (i incidents) During(ctx context.Context, tenant string, from, to time.Time) (out []outbreak.Incident, err error) {
	list, err := i.health.During(ctx, tenant, from, to)
	for _, in := range list {
		x := outbreak.Incident{From: in.From, To: i.now(), Region: in.Region, ISP: in.ISP}
		if in.To != nil {
			x.To = *in.To
		}
		out = append(out, x)
	}
	return out, err
}

// scores is health as the API serves it.
type scores struct{ *App }

func (s scores) DeviceHealth(tx store.Tx, lang string, home cloud.Home, device string) (*httpapi.Health, error) {
	h, ok, err := s.health.Device(tx, home, device, s.now())
	return healthView(lang, h, ok), err
}

func (s scores) HomeHealth(tx store.Tx, lang string, home cloud.Home) (*httpapi.Health, error) {
	h, ok, err := s.health.Home(tx, home, s.now())
	return healthView(lang, h, ok), err
}

func (s scores) OutageOf(tx store.Tx, lang string, home cloud.Home) (*httpapi.Outage, error) {
	in, ok, err := health.Covering(tx, home, s.now())
	if !ok || in.State != "open" {
		return nil, err
	}
	v := outageView(lang, in)
	return &v, err
}

func (scores) Outages(tx store.Tx, lang string, limit int) (out []httpapi.Outage, err error) {
	for _, state := range []string{"open", "closed"} {
		page, _, err := health.Incidents(tx, state, "", limit)
		if err != nil {
			return nil, err
		}
		for _, in := range page {
			out = append(out, outageView(lang, in))
		}
	}
	return out, nil
}

func outageView(lang string, in health.Incident) httpapi.Outage {
	return httpapi.Outage{
		ID: in.ID, State: in.State, Segment: string(in.Segment), SegmentText: timeline.Word(lang, "segment", string(in.Segment)),
		PlaceText: timeline.Cohort(lang, in.Place()), From: in.From, To: in.To, Homes: in.Homes,
	}
}

func healthView(lang string, h health.Health, ok bool) *httpapi.Health {
	if !ok {
		return nil
	}
	v := &httpapi.Health{Score: h.Score, Blame: h.Blame, Reasons: []httpapi.HealthReason{}}
	if h.Blame != "" {
		v.BlameText = health.BlameText(lang, h.Blame)
	}
	for _, r := range h.Reasons {
		v.Reasons = append(v.Reasons, httpapi.HealthReason{
			Text: health.Text(lang, r), Feature: cmp.Or(r.Feature, r.Key), Instance: r.Instance, Value: r.Value, Normal: r.Normal, Share: r.Share,
		})
	}
	return v
}

// ticketBook is the desk as outbreak sees it.
type ticketBook struct{}

func (ticketBook) Unsolved(tx store.Tx, home string) ([]cloud.Ticket, error) {
	return desk.Unsolved(tx, home)
}

func (ticketBook) SetProblem(tx store.Tx, home, ticket, problem string) error {
	return desk.SetProblem(tx, home, ticket, problem)
}

// charts is telemetry as the API serves it.
type charts struct{ db store.DB }

func (charts) Latest(tx store.Tx, home, device string) (*protocol.Sample, time.Time, error) {
	return telemetry.Keeper{}.Latest(tx, home, device)
}

func (c charts) Series(ctx context.Context, tenant, home, device string, metrics []string, from, to time.Time, points int) (out []httpapi.Series, err error) {
	names, wanted := splitMetrics(metrics)
	step := max(to.Sub(from)/time.Duration(points), time.Second)
	err = c.db.View(ctx, tenant, func(tx store.Tx) error {
		list, err := telemetry.Keeper{}.Read(tx, telemetry.Query{Home: home, Device: device, Metrics: names, From: from, To: to, Step: step})
		out = nil
		for _, s := range list {
			if wanted(s.Metric, s.Instance) {
				out = append(out, chart(s, step))
			}
		}
		return err
	})
	return out, err
}

// splitMetrics takes "name{instance}" apart: the names to read, and which series of them are meant.
func splitMetrics(metrics []string) (names []string, wanted func(name, instance string) bool) {
	all := map[string]bool{}
	for _, m := range metrics {
		name, _, _ := strings.Cut(m, "{")
		all[m] = true
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, func(name, instance string) bool { return all[name] || all[name+"{"+instance+"}"] }
}

// chart puts a hole, as a null, wherever a step has no reading: a line must not be drawn across it.
func chart(s telemetry.Series, step time.Duration) httpapi.Series {
	_, unit, _ := strings.Cut(s.Metric[strings.LastIndexByte(s.Metric, '.')+1:], "_")
	if s.Kind == protocol.Counter {
		unit += "/s"
	}
	out := httpapi.Series{Metric: s.Metric, Instance: s.Instance, Unit: unit, At: []int64{}, Value: []*float64{}, Min: []*float64{}, Max: []*float64{}}
	add := func(at time.Time, mean, lo, hi *float64) {
		out.At = append(out.At, at.UnixMilli())
		out.Value, out.Min, out.Max = append(out.Value, mean), append(out.Min, lo), append(out.Max, hi)
	}
	for i, p := range s.Points {
		if i > 0 && p.At.Sub(s.Points[i-1].At) > step*3/2 {
			add(s.Points[i-1].At.Add(step), nil, nil, nil)
		}
		add(p.At, &p.Mean, &p.Min, &p.Max)
	}
	return out
}

// problems is outbreak as the API serves it.
type problems struct{ db store.DB }

const maxProblems, maxAffected = 200, 1000

func (p problems) List(ctx context.Context, tenant, lang, state string) (out []httpapi.Problem, err error) {
	states := []outbreak.State{outbreak.Open, outbreak.Closed}
	if state != "all" {
		states = []outbreak.State{outbreak.State(state)}
	}
	err = p.db.View(ctx, tenant, func(tx store.Tx) error {
		out = nil
		for _, s := range states {
			page, _, err := outbreak.List(tx, s, "", maxProblems)
			if err != nil {
				return err
			}
			for _, x := range page {
				out = append(out, problemView(lang, x))
			}
		}
		return nil
	})
	return out, err
}

func (p problems) Get(ctx context.Context, tenant, lang, id string) (v httpapi.ProblemView, err error) {
	err = p.db.View(ctx, tenant, func(tx store.Tx) error {
		x, err := outbreak.Get(tx, id)
		if err != nil {
			return err
		}
		e := x.Evidence
		v = httpapi.ProblemView{Problem: problemView(lang, x), Evidence: httpapi.ProblemEvidence{
			Observed: e.Observed, Expected: e.Expected, Devices: e.Devices, Score: e.Score, WindowFrom: x.Since, WindowTo: e.To,
		}}
		for _, d := range e.Daily {
			v.Evidence.Daily = append(v.Evidence.Daily, httpapi.ProblemDay{Day: d.At, Observed: d.Observed, Expected: d.Expected})
		}
		affected, _, err := outbreak.AffectedBy(tx, id, "", maxAffected)
		for _, a := range affected {
			v.Homes = append(v.Homes, httpapi.AffectedHome{Home: a.Home, Device: a.Device, Told: &a.Told})
		}
		return err
	})
	return v, err
}

func (problems) OfHome(tx store.Tx, lang, home string) (out []httpapi.ProblemHead, err error) {
	list, err := outbreak.OfHome(tx, home)
	for _, p := range list {
		if p.State == outbreak.Open {
			out = append(out, httpapi.ProblemHead{ID: p.ID, CohortText: timeline.Cohort(lang, p.Cohort.String()), Since: p.Since, State: string(p.State)})
		}
	}
	return out, err
}

func problemView(lang string, p outbreak.Problem) httpapi.Problem {
	return httpapi.Problem{
		ID: p.ID, State: string(p.State), Opened: p.Opened, Closed: p.Closed, Cohort: httpapi.Cohort(p.Cohort),
		CohortText: timeline.Cohort(lang, p.Cohort.String()), HomesAffected: p.Homes, TicketsLinked: p.Tickets,
	}
}

// secretFile reads a secret from a file of mode 0600, or makes one of 256 bits there. Of several instances
// that start at once, the first one's secret counts.
func secretFile(path string) ([]byte, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err = keyfile.Create(path, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	b, err := os.ReadFile(path)
	if err == nil && len(b) < 32 {
		err = fmt.Errorf("%s is %d bytes, want at least 32; delete it to have a new one made", path, len(b))
	}
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return b, nil
}
