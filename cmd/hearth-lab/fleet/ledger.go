package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/protocol"
)

// Line is one record that a device was told is acknowledged, or an event that its outbox took.
type Line struct {
	Device   string `json:"device"`
	Lane     string `json:"lane"` // "event" or "telemetry"
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"seq"`
	ID       string `json:"id,omitempty"` // of the timeline entry that must exist, for an event
	Recorded bool   `json:"recorded,omitempty"`
	At       int64  `json:"at"` // milliseconds since the machine was started, which no wall clock moves
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
		line := Line{Device: device, Lane: lane.String(), Epoch: epoch, Sequence: seq, At: sinceBoot()}
		if lane == protocol.LaneEvent {
			line.ID = string(protocol.DeviceEntryID(device, epoch, seq))
		}
		lines = line.append(lines)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(lines)
	l.n += int(to - from + 1)
}

// recorded notes that an outbox took an event, which from then on must not be lost.
func (l *Ledger) recorded(id protocol.EntryID) {
	device, epoch, seq, ok := id.Device()
	if l == nil || !ok {
		return
	}
	line := Line{Device: device, Lane: protocol.LaneEvent.String(), Epoch: epoch, Sequence: seq, ID: string(id), Recorded: true, At: sinceBoot()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line.append(nil))
}

// write is called with mu held.
func (l *Ledger) write(lines []byte) {
	if _, err := l.file.Write(lines); err != nil && l.err == nil {
		l.err = err
	}
}

func (l Line) append(to []byte) []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // texts and numbers
	}
	return append(append(to, b...), '\n')
}

func sinceBoot() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // it is there since Linux 2.6.39
	return t.Nano() / 1e6
}

// Len is how many acknowledged records this process has entered.
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
