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
		told   string   // ledger: lane and sequence
		want   Verdict
	}{
		{"all is there", []uint64{1, 2}, []uint64{2, 3}, 0, "e1 e2 t1 t2 t3", Verdict{Acked: 5, Events: 2, Telemetry: 3}},
		{"an event is lost", []uint64{1}, nil, 0, "e1 e2", Verdict{Acked: 2, Events: 2, Lost: 1}},
		{"a block is lost", nil, []uint64{2}, 0, "t1 t2 t3", Verdict{Acked: 3, Telemetry: 3, Lost: 1}},
		{"a block is there twice", nil, []uint64{2, 2}, 0, "t2", Verdict{Acked: 1, Telemetry: 1, Doubled: 1}},
		{"what is missing was declared", nil, []uint64{2}, 2, "t2 t3 t4", Verdict{Acked: 3, Telemetry: 3, GapsDeclared: 2}},
		{"told twice is told once", []uint64{1}, nil, 0, "e1 e1", Verdict{Acked: 1, Events: 1}},
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
				if test.gap > 0 {
					e := entry
					e.Kind, e.Args = cloud.KindTelemetryGap, map[string]string{"records": fmt.Sprint(test.gap), "lane": "telemetry"}
					return log.Append(tx, e)
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
			if got.Examples = nil; fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// ledger writes lines as the fleet does, the last one cut off by a kill -9.
func ledger(device, told string) (b []byte) {
	for what := range strings.FieldsSeq(told) {
		lane := map[byte]string{'e': "event", 't': "telemetry"}[what[0]]
		b = fmt.Appendf(b, `{"device":%q,"lane":%q,"epoch":1,"seq":%s}`+"\n", device, lane, what[1:])
	}
	return append(b, `{"device":"hub`...)
}
