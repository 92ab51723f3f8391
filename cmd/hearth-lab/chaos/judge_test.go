package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func TestTheJudgeFindsWhatIsLostDoubledAndDeclared(t *testing.T) {
	ctx := context.Background()
	device := deviceID(0)
	for _, test := range []struct {
		name   string
		events []uint64 // on the timeline
		blocks []uint64 // kept, some perhaps twice
		gap    int      // telemetry records declared as dropped
		undone int      // telemetry records that the device says the cloud forgot
		told   string   // ledger: lane and sequence; r for an event that was recorded
		want   Verdict
	}{
		{"all is there", []uint64{1, 2}, []uint64{2, 3}, 0, 0, "e1 e2 t1 t2 t3", Verdict{Acked: 5, Events: 2, Telemetry: 3}},
		{"an event is lost", []uint64{1}, nil, 0, 0, "e1 e2", Verdict{Acked: 2, Events: 2, Lost: 1}},
		{"a block is lost", nil, []uint64{2}, 0, 0, "t1 t2 t3", Verdict{Acked: 3, Telemetry: 3, Lost: 1}},
		{"a block is there twice", nil, []uint64{2, 2}, 0, 0, "t2", Verdict{Acked: 1, Telemetry: 1, Doubled: 1}},
		{"what is missing was declared", nil, []uint64{2}, 2, 0, "t2 t3 t4", Verdict{Acked: 3, Telemetry: 3, GapsDeclared: 2}},
		{"what the cloud forgot is lost, however it is declared", nil, []uint64{2}, 0, 2, "t2 t3 t4", Verdict{Acked: 3, Telemetry: 3, Lost: 2}},
		{"what was recorded and never came is not delivered", []uint64{1}, nil, 0, 0, "r1 r2 e1", Verdict{Acked: 1, Events: 1, Recorded: 2, Undelivered: 1}},
		{"what came and was not yet acknowledged is not", []uint64{1, 2}, nil, 0, 0, "r1 r2 e1", Verdict{Acked: 1, Events: 1, Recorded: 2}},
		{"told twice is told once", []uint64{1}, nil, 0, 0, "e1 e1", Verdict{Acked: 1, Events: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			db, err := openStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			log := timeline.New(nil)
			err = db.Update(ctx, Tenant, func(tx store.Tx) error {
				entry := cloud.Entry{Home: homeID(0), Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: device}}, Actor: cloud.Ref{Type: cloud.RefDevice, ID: device}}
				for _, seq := range test.events {
					e := entry
					e.ID, e.Kind = protocol.DeviceEntryID(device, 1, seq), cloud.Kind(protocol.EventSymptom)
					if err := log.Append(tx, e); err != nil {
						return err
					}
				}
				for i, seq := range test.blocks {
					at := time.Now().Add(time.Duration(i) * time.Minute) // a doubled block shows at two times
					b := []cloud.Block{{Home: homeID(0), Device: device, From: at, To: at, Epoch: 1, Sequence: seq}}
					if err := (telemetry.Keeper{}).PutBlocks(tx, b); err != nil {
						return err
					}
				}
				for reason, n := range map[string]int{"quota": test.gap, "restart": test.undone} {
					if n == 0 {
						continue
					}
					e := entry
					e.Kind, e.Args = cloud.KindTelemetryGap, map[string]string{"records": fmt.Sprint(n), "lane": "telemetry", "reason": reason}
					if err := log.Append(tx, e); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "ledger"), ledger(device, test.told), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Audit{Ledger: filepath.Join(dir, "ledger"), Devices: 1, Until: 1}.Judge(ctx, db)
			if err != nil {
				t.Fatal(err)
			}
			if got.Examples, got.Dated, got.Misdated = nil, 0, 0; fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTheJudgeChecksTimesWhereTheCloudCouldKnowThem(t *testing.T) {
	now, boot := time.Now(), sinceBoot()
	p := place{deviceID(0), protocol.LaneEvent, 1, 1}
	for _, test := range []struct {
		name  string
		off   time.Duration // of the entry
		wrong []Span        // from a second ago
		told  bool
		want  Verdict
	}{
		{"right", 0, nil, true, Verdict{Dated: 1}},
		{"late by less than what may be", time.Minute, nil, true, Verdict{Dated: 1}},
		{"an hour early", -time.Hour, nil, true, Verdict{Dated: 1, Misdated: 1}},
		{"the cloud's clock was wrong meanwhile", -time.Hour, []Span{{boot - 500, boot - 200}}, true, Verdict{}},
		{"the cloud's clock had been wrong before", -time.Hour, []Span{{boot - 5000, boot - 2000}}, true, Verdict{Dated: 1, Misdated: 1}},
		{"it may have been committed at any time", -time.Hour, nil, false, Verdict{}},
	} {
		h := &holding{dated: map[place]time.Time{p: now.Add(test.off - time.Second)}}
		b := &book{recorded: map[place]int64{p: boot - 1000}, told: map[place]int64{}}
		if test.told {
			b.told[p] = boot
		}
		var got Verdict
		got.date(h, b, test.wrong)
		if got.Dated != test.want.Dated || got.Misdated != test.want.Misdated {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// ledger writes lines as the fleet does, the last one cut off by a kill -9.
func ledger(device, told string) (b []byte) {
	for what := range strings.FieldsSeq(told) {
		lane := map[byte]string{'e': "event", 't': "telemetry", 'r': "event"}[what[0]]
		b = fmt.Appendf(b, `{"device":%q,"lane":%q,"epoch":1,"seq":%s,"recorded":%t,"at":1}`+"\n", device, lane, what[1:], what[0] == 'r')
	}
	return append(b, `{"device":"hub`...)
}
