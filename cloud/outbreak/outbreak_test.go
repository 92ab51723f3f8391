package outbreak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const tenant = "acme"

// town is a vendor's fleet, one hub a home, with a clock and the tables of a real store.
type town struct {
	t        *testing.T
	now      time.Time
	rng      *rand.Rand
	db       store.DB
	o        *Outbreak
	log      *timeline.Log
	homes    []cloud.Home
	devices  []cloud.Device
	away     map[string]time.Time // device -> since when it is silent
	tickets  map[string][]cloud.Ticket
	incident []Incident
	serial   int
}

func newTown(t *testing.T, homes int) *town {
	w := &town{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rng: rand.New(rand.NewPCG(1, 2)),
		away: map[string]time.Time{}, tickets: map[string][]cloud.Ticket{},
	}
	for i := range homes {
		id := fmt.Sprintf("h%03d", i)
		w.homes = append(w.homes, cloud.Home{ID: id, Region: fmt.Sprint("r", i%3), ISP: fmt.Sprint("isp", i%2)})
		w.devices = append(w.devices, cloud.Device{
			ID: "hub" + id, Home: id, Added: w.now.AddDate(0, -1, 0),
			Model: fmt.Sprint("m", w.rng.IntN(3)), Firmware: fmt.Sprint("f", w.rng.IntN(2)), Hardware: "a",
		})
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, append(Tables(), timeline.Tables()...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.db = db
	w.o, err = New(Options{
		DB: db, Fleet: w, Tickets: w, Incidents: w, Now: func() time.Time { return w.now }, Learn: 28, Watch: 28,
		Append: func(tx store.Tx, e cloud.Entry) error { return w.log.Append(tx, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.log = timeline.New(func() time.Time { return w.now }, w.o.Rules()...)
	return w
}

func (w *town) Homes(_ store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error) {
	from := 0
	if after != "" {
		if _, err := fmt.Sscan(string(after), &from); err != nil {
			return nil, "", err
		}
	}
	to := min(from+limit, len(w.homes))
	if to == len(w.homes) {
		return w.homes[from:], "", nil
	}
	return w.homes[from:to], store.Cursor(fmt.Sprint(to)), nil
}

func (w *town) Devices(_ store.Tx, home string) (out []cloud.Device, err error) {
	for _, d := range w.devices {
		if d.Home == home {
			out = append(out, d)
		}
	}
	return out, nil
}

func (w *town) Heard(_ store.Tx, _, device string, now time.Time) (time.Time, error) {
	if since, ok := w.away[device]; ok {
		return since, nil
	}
	return now, nil
}

func (w *town) Unsolved(_ store.Tx, home string) ([]cloud.Ticket, error) { return w.tickets[home], nil }

func (w *town) SetProblem(_ store.Tx, home, ticket, problem string) error {
	for i, t := range w.tickets[home] {
		if t.ID == ticket {
			w.tickets[home][i].Problem = problem
			return nil
		}
	}
	return errors.New("no such ticket")
}

func (w *town) During(context.Context, string, time.Time, time.Time) ([]Incident, error) {
	return w.incident, nil
}

// fault writes a symptom of a device into its home's timeline.
func (w *town) fault(d cloud.Device, at time.Time) store.Work {
	w.serial++
	e := cloud.Entry{
		ID: protocol.DeviceEntryID(d.ID, 1, uint64(w.serial)), Home: d.Home, At: at, Kind: cloud.Kind(protocol.EventSymptom),
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: d.ID}}, Actor: cloud.Ref{Type: cloud.RefDevice, ID: d.ID},
	}
	return store.Work{Tenant: tenant, Do: func(tx store.Tx) error { return w.log.Append(tx, e) }}
}

// day lets a day go by in which device d has rate(d) faults on average, and scans at its end.
func (w *town) day(rate func(i int, d cloud.Device) float64) {
	w.t.Helper()
	begin := w.now
	w.now = begin.Add(24*time.Hour + time.Minute) // the clock is ahead of the day's entries
	var work []store.Work
	for i, d := range w.devices {
		for r := rate(i, d); r > 0; r-- {
			if w.rng.Float64() < min(r, 1) {
				work = append(work, w.fault(d, begin.Add(time.Duration(w.rng.Int64N(int64(23*time.Hour))))))
			}
		}
	}
	w.batch(work)
	w.scan()
	w.now = begin.Add(24 * time.Hour)
}

func (w *town) batch(work []store.Work) {
	w.t.Helper()
	if err := errors.Join(w.db.Batch(context.Background(), work)...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) scan() {
	w.t.Helper()
	if err := w.o.Scan(context.Background(), tenant); err != nil {
		w.t.Fatal(err)
	}
}

// usual is a fleet in which every other hub has a fault now and then.
func usual(i int, _ cloud.Device) float64 { return 0.02 + 0.15*float64(i%2) }

func (w *town) problems(state State) (list []Problem) {
	w.t.Helper()
	w.view(func(tx store.Tx) (err error) {
		list, _, err = List(tx, state, "", 100)
		return err
	})
	return list
}

func (w *town) view(fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.db.View(context.Background(), tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) entries(home string, kind cloud.Kind) (out []cloud.Entry) {
	w.t.Helper()
	w.view(func(tx store.Tx) error {
		all, _, err := timeline.Page(tx, home, "", 1000)
		for _, e := range all {
			if e.Kind == kind {
				out = append(out, e)
			}
		}
		return err
	})
	return out
}

func TestABadFirmwareBecomesOneProblemAndItsHomesAreToldFirst(t *testing.T) {
	w := newTown(t, 240)
	for range 30 {
		w.day(usual)
	}
	if p := w.problems(Open); len(p) > 0 {
		t.Fatalf("a problem in a quiet fleet: %+v", p)
	}
	bad := Cohort{Model: "m1", Firmware: "f1"}
	worse := func(i int, d cloud.Device) float64 {
		if bad.Contains(Cohort{Model: d.Model, Firmware: d.Firmware}) {
			return usual(i, d) + 0.5
		}
		return usual(i, d)
	}
	// One home complained before anything was known, one has a ticket of old.
	sick := slices.IndexFunc(w.devices, func(d cloud.Device) bool { return d.Model == "m1" && d.Firmware == "f1" })
	old := sick + 1 + slices.IndexFunc(w.devices[sick+1:], func(d cloud.Device) bool { return d.Model == "m1" && d.Firmware == "f1" })
	w.tickets[w.devices[sick].Home] = []cloud.Ticket{{ID: "t1", Home: w.devices[sick].Home, Opened: w.now.Add(time.Hour)}}
	w.tickets[w.devices[old].Home] = []cloud.Ticket{{ID: "t2", Home: w.devices[old].Home, Opened: w.now.AddDate(0, 0, -20)}}
	began := w.now
	for range 4 {
		w.day(worse)
	}
	open := w.problems(Open)
	if len(open) != 1 || open[0].Cohort != bad {
		t.Fatalf("problems %+v, want one of %+v", open, bad)
	}
	p := open[0]
	if gap := p.Since.Sub(began).Abs(); gap > 24*time.Hour {
		t.Errorf("began %v, the truth is %v", p.Since, began)
	}
	ev := p.Evidence
	if ev.Score < 1 || ev.Observed < 2*int(ev.Expected) || ev.Faulty < 10 || ev.Devices < ev.Faulty || p.Homes != ev.Faulty || len(ev.Daily) == 0 {
		t.Errorf("evidence %+v, %d homes", ev, p.Homes)
	}
	told := 0
	for _, d := range w.devices {
		linked := w.entries(d.Home, cloud.KindProblemLinked)
		told += len(linked)
		for _, e := range linked {
			if e.Subject(cloud.RefProblem) != p.ID || e.Args["cohort"] != "model=m1&firmware=f1" || len(e.Because) != 1 {
				t.Fatalf("entry %+v", e)
			}
			if cause := e.Because[0]; !slices.ContainsFunc(w.entries(d.Home, cloud.Kind(protocol.EventSymptom)), func(c cloud.Entry) bool { return c.ID == cause }) {
				t.Errorf("the cause %s is not a fault of the home", cause)
			}
		}
		if len(linked) > 0 && !bad.Contains(Cohort{Model: d.Model, Firmware: d.Firmware}) {
			t.Errorf("home %s was told of a problem that is not its own", d.Home)
		}
	}
	if told != p.Homes || told == 0 {
		t.Errorf("%d homes told, %d affected", told, p.Homes)
	}
	if got := w.tickets[w.devices[old].Home][0].Problem; got != "" {
		t.Errorf("a ticket from before the problem was linked to it")
	}
	if linked := len(w.entries(w.devices[sick].Home, cloud.KindProblemLinked)) > 0; linked != (w.tickets[w.devices[sick].Home][0].Problem == p.ID) {
		t.Errorf("home told %v, its ticket linked to %q", linked, w.tickets[w.devices[sick].Home][0].Problem)
	}

	// Scanning again, in the middle of a day too, changes nothing.
	w.now = w.now.Add(13 * time.Hour)
	w.scan()
	w.scan()
	w.now = w.now.Add(-13 * time.Hour)
	if again := w.problems(Open); len(again) != 1 || again[0].ID != p.ID {
		t.Fatalf("after another scan: %+v", again)
	}

	// The fault is cured; the problem ends once, for every home that was told.
	for range 10 {
		w.day(usual)
	}
	closed := w.problems(Closed)
	if len(w.problems(Open)) != 0 || len(closed) != 1 || closed[0].ID != p.ID {
		t.Fatalf("open %+v, closed %+v", w.problems(Open), closed)
	}
	for _, d := range w.devices {
		if l, c := len(w.entries(d.Home, cloud.KindProblemLinked)), len(w.entries(d.Home, cloud.KindProblemClosed)); l != c {
			t.Errorf("home %s was told %d times that it began and %d times that it is over", d.Home, l, c)
		}
	}
}

func TestARegionsOutageIsAnIncidentAndNoProblem(t *testing.T) {
	w := newTown(t, 240)
	for range 30 {
		w.day(usual)
	}
	outage := func(i int, d cloud.Device) float64 {
		if i%3 == 1 { // region r1
			return 3
		}
		return usual(i, d)
	}
	w.incident = []Incident{{From: w.now, To: w.now.Add(24 * time.Hour), Region: "r1"}}
	w.day(outage)
	if p := w.problems(Open); len(p) != 0 {
		t.Errorf("an outage that is known became a problem: %+v", p)
	}
	// The control: nobody knows of the next one, so its region is named.
	w.day(outage)
	if p := w.problems(Open); len(p) != 1 || p[0].Cohort != (Cohort{Region: "r1"}) {
		t.Errorf("an unexplained outage: %+v", p)
	}
}

func TestSilenceIsNotTakenForCalm(t *testing.T) {
	w := newTown(t, 60)
	for range 5 {
		w.day(usual)
	}
	w.away[w.devices[0].ID] = w.now
	for range 3 {
		w.day(func(i int, d cloud.Device) float64 {
			if i == 0 {
				return 0
			}
			return usual(i, d)
		})
	}
	f, err := w.o.load(context.Background(), tenant, w.now)
	if err != nil {
		t.Fatal(err)
	}
	last := len(f.counts) - 1
	for t1 := last - 1; t1 <= last; t1++ { // the day it left counts, the days after are unknown
		if f.counts[t1][0] >= 0 {
			t.Errorf("step %d of a silent device counts %d faults", t1, f.counts[t1][0])
		}
		if f.counts[t1][1] < 0 {
			t.Errorf("step %d of its neighbour is missing", t1)
		}
	}
}

func TestAnUpdateAndAnInstallationAreNoFaults(t *testing.T) {
	w := newTown(t, 60)
	for range 5 {
		w.day(usual)
	}
	w.devices[3].Firmware = "f9"
	w.homes = append(w.homes, cloud.Home{ID: "new"})
	w.devices = append(w.devices, cloud.Device{ID: "hubnew", Home: "new", Model: "m0", Firmware: "f9", Added: w.now.Add(time.Hour)})
	w.day(func(i int, d cloud.Device) float64 { return 1 })
	f, err := w.o.load(context.Background(), tenant, w.now)
	if err != nil {
		t.Fatal(err)
	}
	last := len(f.counts) - 1
	updated, installed := f.index[[2]string{"h003", "hubh003"}], f.index[[2]string{"new", "hubnew"}]
	// The scan saw the update at the end of its day, a minute into the next.
	if got := f.what(updated, f.first+int64(last)+1).Firmware; got != "f9" {
		t.Errorf("after the update it runs %s", got)
	}
	if f.counts[last][installed] >= 0 {
		t.Errorf("the day of the installation counts")
	}
	if f.counts[last][5] < 1 {
		t.Errorf("an ordinary device counts %d", f.counts[last][5])
	}
}

func TestManySymptomsOfOneFaultCountOnce(t *testing.T) {
	w := newTown(t, 4)
	d := w.devices[0]
	at := w.now.Add(time.Hour)
	w.now = w.now.Add(12 * time.Hour)
	w.batch([]store.Work{w.fault(d, at), w.fault(d, at.Add(time.Minute)), w.fault(d, at.Add(-5*time.Minute)), w.fault(d, at.Add(2*time.Hour))})
	contact := func(id string, subjects ...cloud.Ref) {
		w.batch([]store.Work{{Tenant: tenant, Do: func(tx store.Tx) error {
			return w.log.Append(tx, cloud.Entry{
				ID: protocol.EntryID(id), Home: d.Home, Kind: cloud.KindContact, Subjects: subjects, Actor: cloud.Ref{Type: cloud.RefCustomer, ID: "c"},
			})
		}}})
	}
	w.devices = append(w.devices, cloud.Device{ID: "second", Home: d.Home})
	contact("c1") // about the hub, which failed today
	contact("c2") // calling twice
	contact("c3", cloud.Ref{Type: cloud.RefDevice, ID: "second"})
	w.view(func(tx store.Tx) error {
		a, err := days.Get(tx, d.Home, d.ID, w.o.stepOf(at))
		if err != nil {
			return err
		}
		if len(a.Faults) != 2 || len(a.Contacts) != 1 {
			t.Errorf("%d faults and %d contacts, want 2 and 1", len(a.Faults), len(a.Contacts))
		}
		b, err := days.Get(tx, d.Home, "second", w.o.stepOf(at))
		if len(b.Faults) != 0 || len(b.Contacts) != 1 {
			t.Errorf("the device that was named has %d faults and %d contacts", len(b.Faults), len(b.Contacts))
		}
		return err
	})
}

func TestRestartsThatAreNobodysFaultDoNotCount(t *testing.T) {
	w := newTown(t, 1)
	d := w.devices[0]
	for i, reason := range []string{"first", "update", "power", "crash"} {
		w.now = w.now.Add(time.Hour)
		w.batch([]store.Work{{Tenant: tenant, Do: func(tx store.Tx) error {
			return w.log.Append(tx, cloud.Entry{
				ID: protocol.DeviceEntryID(d.ID, 9, uint64(i)), Home: d.Home, Kind: cloud.Kind(protocol.EventBoot),
				Actor: cloud.Ref{Type: cloud.RefDevice, ID: d.ID}, Args: map[string]string{"reason": reason},
			})
		}}})
	}
	w.view(func(tx store.Tx) error {
		row, err := days.Get(tx, d.Home, d.ID, w.o.stepOf(w.now))
		if len(row.Faults) != 1 || !row.Faults[0].Equal(w.now) {
			t.Errorf("faults at %v, want the crash alone at %v", row.Faults, w.now)
		}
		return err
	})
}

func TestOldDaysAreForgotten(t *testing.T) {
	w := newTown(t, 20)
	for range 60 {
		w.day(func(int, cloud.Device) float64 { return 0.3 })
	}
	w.view(func(tx store.Tx) error {
		for d, err := range days.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			if age := w.o.stepOf(w.now) - d.Step; age > 57 {
				t.Errorf("a row of %d steps ago is kept", age)
			}
		}
		return nil
	})
}

func TestTheTimerArmsItself(t *testing.T) {
	w := newTown(t, 1)
	ctx := context.Background()
	for range 2 {
		if err := w.o.Arm(ctx, tenant); err != nil {
			t.Fatal(err)
		}
	}
	waiting, err := w.db.Waiting(ctx, QueueScan, 10)
	if err != nil || len(waiting) != 1 {
		t.Fatalf("%v, %v: want one timer", waiting, err)
	}
	w.now = w.now.Add(time.Hour)
	if err := w.o.Handle(ctx, waiting[0]); err != nil {
		t.Fatal(err)
	}
	if waiting, err = w.db.Waiting(ctx, QueueScan, 10); err != nil || len(waiting) != 2 { // the first is not done yet
		t.Errorf("%v, %v: want the next timer beside it", waiting, err)
	}
}
