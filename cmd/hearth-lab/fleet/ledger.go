package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/hearthline/hearthline/protocol"
)

// Line is one record that a device was told is acknowledged.
type Line struct {
	Device   string `json:"device"`
	Lane     string `json:"lane"` // "event" or "telemetry"
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"seq"`
	ID       string `json:"id,omitempty"` // of the timeline entry that must exist, for an event
}

// Ledger is a file of Lines as JSON, one a line. It is written as the acknowledgements come, outside the
// agents, and nothing is buffered: a killed process has told of all that it knew. A nil Ledger keeps
// nothing. It is safe for concurrent use.
type Ledger struct {
	mu   sync.Mutex
	file *os.File
	err  error
	n    int
}

// OpenLedger appends to the file, made if there is none.
func OpenLedger(path string) (*Ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &Ledger{file: f}, nil
}

func (l *Ledger) acked(device string, lane protocol.Lane, epoch, from, to uint64) {
	if l == nil {
		return
	}
	var lines []byte
	for seq := from; seq <= to; seq++ {
		line := Line{Device: device, Lane: lane.String(), Epoch: epoch, Sequence: seq}
		if lane == protocol.LaneEvent {
			line.ID = string(protocol.DeviceEntryID(device, epoch, seq))
		}
		b, err := json.Marshal(line)
		if err != nil {
			panic(err) // texts and numbers
		}
		lines = append(append(lines, b...), '\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(lines); err != nil && l.err == nil {
		l.err = err
	}
	l.n += int(to - from + 1)
}

// Len is how many records this process has entered.
func (l *Ledger) Len() int {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Close returns the first error there was: a ledger with a hole proves nothing.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
	return l.err
}
