package chaos

import (
	"bufio"
	"encoding/json"
	"os"

	labfleet "github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/protocol"
)

// place is where a record stands: on a lane of a device.
type place struct {
	device          string
	lane            protocol.Lane
	epoch, sequence uint64
}

// book is what the fleet's ledger says, with when (see sinceBoot).
type book struct {
	recorded map[place]int64 // events that a device's outbox took: they must arrive
	told     map[place]int64 // records that a device was told are committed
}

func readLedger(path string) (*book, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := &book{map[place]int64{}, map[place]int64{}}
	s := bufio.NewScanner(f)
	for s.Scan() {
		var l labfleet.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			continue // the line that a kill -9 cut in two tells nothing
		}
		p := place{l.Device, protocol.LaneEvent, l.Epoch, l.Sequence}
		if l.Lane != protocol.LaneEvent.String() {
			p.lane = protocol.LaneTelemetry
		}
		in := b.told
		if l.Recorded {
			in = b.recorded
		}
		if _, known := in[p]; !known {
			in[p] = l.At
		}
	}
	return b, s.Err()
}

// delivered tells whether devices were told of every event that was recorded by then.
func (b *book) delivered(by int64) bool {
	for p, at := range b.recorded {
		if _, told := b.told[p]; !told && at <= by {
			return false
		}
	}
	return true
}
