package predict

import (
	"fmt"
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

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func entry(id string, after time.Duration, kind cloud.Kind, args map[string]string, because ...protocol.EntryID) cloud.Entry {
	return cloud.Entry{
		ID: protocol.EntryID(id), Home: "home", At: noon.Add(after), Kind: kind, Args: args, Because: because,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: "hub"}}, Actor: cloud.Ref{Type: cloud.RefService, ID: "test"},
	}
}

func TestTheTimelineTellsWhenAConnectionFailed(t *testing.T) {
	seg := map[string]string{"ticket": "t", "segment": string(protocol.SegmentISP)}
	other := entry("x", 0, cloud.KindDeviceOffline, nil)
	other.Subjects[0].ID = "lamp"
	for _, c := range []struct {
		name    string
		entries []cloud.Entry
		want    []string // kind from-to in minutes after noon; ? when unclear
	}{
		{"a silence", []cloud.Entry{entry("a", 10*time.Minute, cloud.KindDeviceOffline, nil), entry("b", 25*time.Minute, cloud.KindDeviceOnline, nil)}, []string{"offline 10-25"}},
		{"a silence that lasts", []cloud.Entry{entry("a", 10*time.Minute, cloud.KindDeviceOffline, nil)}, []string{"offline 10-60"}},
		{"another device's silence", []cloud.Entry{other}, nil},
		{"a silence of our own making", []cloud.Entry{entry("a", 50*time.Minute, cloud.KindDeviceOffline, nil), entry("b", 55*time.Minute, cloud.KindDeviceOnline, nil)}, []string{"offline 50-55?"}},
		{"a ticket, from its first symptom", []cloud.Entry{
			entry("s", 5*time.Minute, "symptom.seen", nil), entry("d", 6*time.Minute, "diagnosis.done", nil, "s"), entry("t", 7*time.Minute, cloud.KindTicketOpened, seg, "d"),
		}, []string{"isp 5-7"}},
		{"a ticket after a call, from half an hour before it", []cloud.Entry{
			entry("c", 40*time.Minute, cloud.KindContact, nil), entry("t", 41*time.Minute, cloud.KindTicketOpened, seg, "c"),
		}, []string{"isp 10-41"}},
		{"a ticket about something else", []cloud.Entry{entry("t", 7*time.Minute, cloud.KindTicketOpened, map[string]string{"segment": string(protocol.SegmentUnknown)})}, nil},
		{"a symptom that a fix ended", []cloud.Entry{
			entry("s", 5*time.Minute, "symptom.seen", nil), entry("r", 6*time.Minute, cloud.KindRiskRaised, nil), entry("f", 8*time.Minute, "fix.verified", nil, "r", "s"),
		}, []string{"repaired 5-8"}},
		{"a risk that a fix ended", []cloud.Entry{
			entry("r", 6*time.Minute, cloud.KindRiskRaised, nil), entry("f", 8*time.Minute, "fix.verified", nil, "r"),
		}, []string{"repaired 6-8?"}},
		{"causes in a ring", []cloud.Entry{entry("t", 7*time.Minute, cloud.KindTicketOpened, seg, "t")}, []string{"isp 7-7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			own := func(at time.Time) bool { return at.After(noon.Add(45 * time.Minute)) }
			for _, f := range Labels(c.entries, "hub", noon.Add(time.Hour), own) {
				s := fmt.Sprintf("%s %g-%g", f.Kind, (f.From-float64(noon.Unix()))/60, (f.To-float64(noon.Unix()))/60)
				if f.Unclear {
					s += "?"
				}
				got = append(got, s)
			}
			if !slices.Equal(got, c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

// shelves gives the archive its devices and samples.
type shelves struct{ devices int }

func (s shelves) Devices(_ store.Tx, after string, limit int) (out []cloud.Device, err error) {
	for i := range s.devices {
		if id := fmt.Sprintf("hub-%03d", i); id > after && len(out) < limit {
			out = append(out, cloud.Device{ID: id, Home: fmt.Sprintf("home-%03d", i)})
		}
	}
	return out, nil
}

func (s shelves) Samples(_ store.Tx, _, device string, from, to time.Time, each func([]protocol.Sample)) (int, error) {
	if device == "hub-001" {
		return 0, nil // was never heard
	}
	schema := &protocol.Schema{Metrics: []protocol.Metric{{Name: "gateway.loss_ratio"}, {Name: "dns.latency_ms", Instance: "10.0.0.1"}}}
	var late, early []protocol.Sample
	for at := from; at.Before(to); at = at.Add(10 * time.Second) {
		row := protocol.Sample{Wall: at.UnixMilli(), Schema: schema, Values: []float64{0, 12}}
		if at.Sub(from) > time.Minute {
			late = append(late, row)
		} else {
			early = append(early, row)
		}
	}
	each(late)
	each(early)
	return 0, nil
}

func TestTheArchiveYieldsWhatTheStoreHolds(t *testing.T) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, timeline.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	log := timeline.New(func() time.Time { return noon })
	if err := db.Update(t.Context(), "t", func(tx store.Tx) error {
		for i, k := range []cloud.Kind{cloud.KindDeviceOffline, cloud.KindDeviceOnline} {
			e := entry(fmt.Sprint("e", i), time.Duration(i+1)*time.Minute, k, nil)
			e.Home, e.Subjects[0].ID = "home-102", "hub-102"
			if err := log.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a := Archive{DB: db, Tenant: "t", Fleet: shelves{130}, Telemetry: shelves{130}, From: noon, To: noon.Add(5 * time.Minute)}
	n := 0
	for h, err := range a.Histories(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		last, samples := 0.0, 0
		for s := range h.Samples {
			if s.At < last || len(s.Metrics) != 2 || s.Metrics[1] != "dns.latency_ms{10.0.0.1}" {
				t.Fatalf("%s: sample %+v after %v", h.Device, s, last)
			}
			last = s.At
			samples++
		}
		if want := h.Device == "hub-102"; samples != 30 || (len(h.Faults) == 1) != want {
			t.Fatalf("%s of %s: %d samples, faults %v", h.Device, h.Home, samples, h.Faults)
		}
	}
	if n != 129 {
		t.Fatalf("%d histories, want 129: one device was never heard", n)
	}
}
