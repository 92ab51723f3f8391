package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	labfleet "github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/protocol"
)

// Verdict compares what devices were told with what the cloud holds.
type Verdict struct {
	Acked        int      `json:"acked"`         // distinct records that a device was told are committed
	Lost         int      `json:"lost"`          // of them, neither there nor declared as a gap
	Doubled      int      `json:"doubled"`       // records that are there more than once
	GapsDeclared int      `json:"gaps_declared"` // records that devices had to drop, and said so
	Events       int      `json:"events"`        // of the acknowledged
	Telemetry    int      `json:"telemetry"`     // of the acknowledged
	Examples     []string `json:"examples,omitempty"`
}

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < 10 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// place is where a record stands: on a lane of a device.
type place struct {
	device, lane    string
	epoch, sequence uint64
}

func readLedger(path string) (map[place]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	told := map[place]bool{}
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		var l labfleet.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			continue // the line that a kill -9 cut in two tells nothing
		}
		told[place{l.Device, l.Lane, l.Epoch, l.Sequence}] = true
	}
	return told, s.Err()
}

// Judge reads the whole store of the lab and compares.
func Judge(ctx context.Context, db store.DB, ledger string, devices int) (Verdict, error) {
	told, err := readLedger(ledger)
	if err != nil {
		return Verdict{}, fmt.Errorf("ledger: %w", err)
	}
	there := map[place]int{}
	gaps := map[string]int{} // by device and lane
	for i := range devices {
		err := db.View(ctx, Tenant, func(tx store.Tx) error {
			if err := readTimeline(tx, homeID(i), there, gaps); err != nil {
				return err
			}
			return telemetry.Keeper{}.Places(tx, homeID(i), deviceID(i), func(epoch, sequence uint64) {
				there[place{deviceID(i), protocol.LaneTelemetry.String(), epoch, sequence}]++
			})
		})
		if err != nil {
			return Verdict{}, err
		}
	}
	v := Verdict{Acked: len(told)}
	for _, n := range gaps {
		v.GapsDeclared += n
	}
	for p, n := range there {
		if n > 1 {
			v.Doubled += n - 1
			v.example("%d times: %+v", n, p)
		}
	}
	missing := map[string]int{}
	for p := range told {
		if p.lane == "event" {
			v.Events++
		} else {
			v.Telemetry++
		}
		switch {
		case there[p] > 0:
		case p.lane == "telemetry" && p.sequence == 1: // the schema, which opens every epoch and is no block
		default:
			missing[p.device+"/"+p.lane]++
			v.example("missing: %+v", p)
		}
	}
	for key, n := range missing {
		v.Lost += max(n-gaps[key], 0) // an acknowledged gap is a record that says what was lost
	}
	return v, nil
}

func readTimeline(tx store.Tx, home string, there map[place]int, gaps map[string]int) error {
	var after store.Cursor
	for {
		page, next, err := timeline.Page(tx, home, after, 1000)
		if err != nil {
			return err
		}
		for _, e := range page {
			device := e.Subject(cloud.RefDevice)
			if _, epoch, seq, ok := e.ID.Device(); ok {
				there[place{device, "event", epoch, seq}]++
			}
			if e.Kind == cloud.KindTelemetryGap {
				n, err := strconv.Atoi(e.Args["records"])
				if err != nil {
					return fmt.Errorf("gap %s: %w", e.ID, err)
				}
				gaps[device+"/"+e.Args["lane"]] += n
			}
		}
		if after = next; after == "" {
			return nil
		}
	}
}
