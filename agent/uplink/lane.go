package uplink

import (
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

const (
	batchRecords = 128
	batchBytes   = 64 << 10
	standStill   = 2 * time.Second // acks that arrive but do not grow for so long mean that a batch was lost
	maxResends   = 3               // then a new connection is tried
)

// lane is what is in flight on one up lane of the present connection.
type lane struct {
	id    protocol.Lane
	topic string
	opts  *Options

	sent     agent.Place // next to be sent
	flights  []flight    // sent and not acknowledged, in order
	records  int         // in flights
	bytes    int
	progress time.Time // when the oldest flight was sent or the last one acknowledged, whichever is later
	resends  int       // since the last progress
	behind   *protocol.Ack
}

type flight struct {
	epoch   uint64
	last    uint64 // sequence
	records int
	bytes   int
}

func (l *lane) reset() {
	l.sent, l.flights, l.records, l.bytes = agent.Place{}, nil, 0, 0
	l.resends, l.behind = 0, nil
}

// rewind makes everything unacknowledged due again.
func (l *lane) rewind(now time.Time) {
	l.sent, l.flights, l.records, l.bytes = agent.Place{}, nil, 0, 0
	l.progress = now
}

// fill sends while the window has room. more reports that records wait for room.
func (l *lane) fill(c mqtt.Client, now time.Time) (more bool, err error) {
	for {
		if l.records >= l.opts.WindowRecords || l.bytes >= l.opts.WindowBytes {
			return true, nil
		}
		run, err := l.opts.Spool.Read(l.id, l.sent, min(batchRecords, l.opts.WindowRecords-l.records), min(batchBytes, l.opts.WindowBytes-l.bytes))
		if err != nil {
			return false, err
		}
		if len(run.Records) == 0 {
			return false, nil
		}
		size, err := l.publish(c, &run)
		if err != nil {
			return false, err
		}
		if len(l.flights) == 0 {
			l.progress = now
		}
		l.sent = run.Next()
		l.flights = append(l.flights, flight{run.Epoch, l.sent.Sequence - 1, len(run.Records), size})
		l.records += len(run.Records)
		l.bytes += size
	}
}

func (l *lane) publish(c mqtt.Client, run *agent.Run) (size int, err error) {
	b, err := protocol.Marshal(&protocol.Batch{
		Version: protocol.Version, Epoch: run.Epoch, First: run.First, Boot: l.opts.Spool.Boot(),
		SentMono: l.opts.Clock.Mono(), SentWall: l.opts.Clock.Wall(), Records: run.Records,
	})
	if err != nil {
		return 0, err
	}
	if t := c.Publish(l.topic, 1, false, b); t.Error() != nil {
		return 0, fmt.Errorf("publish: %w", t.Error())
	}
	return len(b), nil
}

// acked takes note of an acknowledgement that the spool has seen; grew says whether it was news.
func (l *lane) acked(a protocol.Ack, grew bool, now time.Time) {
	if !grew {
		// An ack below what is known: either late, or the cloud was restored from a backup and lost some.
		if known, ok := l.opts.Spool.Acknowledged(l.id, a.Epoch); ok && a.Committed < known {
			l.behind = &a
		}
		if len(l.flights) > 0 && a.Epoch == l.flights[0].epoch && now.Sub(l.progress) >= standStill {
			l.rewind(now)
		}
		return
	}
	l.behind = nil
	l.progress, l.resends = now, 0
	for len(l.flights) > 0 && l.flights[0].epoch == a.Epoch && l.flights[0].last <= a.Committed {
		l.records -= l.flights[0].records
		l.bytes -= l.flights[0].bytes
		l.flights = l.flights[1:]
	}
	if len(l.flights) == 0 {
		l.flights = nil
	}
}

func (l *lane) timeout() time.Duration { return l.opts.AckTimeout << min(l.resends, 4) }

func (l *lane) nextTimeout(now time.Time) time.Duration {
	if len(l.flights) == 0 {
		return time.Hour
	}
	return max(l.timeout()-now.Sub(l.progress), time.Millisecond)
}

// checkTimeout makes records due again that were not acknowledged in time, and gives the connection up
// when that did not help.
func (l *lane) checkTimeout(now time.Time) error {
	if len(l.flights) == 0 || now.Sub(l.progress) < l.timeout() {
		return nil
	}
	if l.resends >= maxResends {
		return errSilent
	}
	l.resends++
	l.opts.Log.Info("not acknowledged in time, sending again", "lane", l.id.String(), "records", l.records)
	l.rewind(now)
	return nil
}

// declareLost tells the cloud that what it acknowledged once and lost since is gone here too: a gap, so
// that it can go on. It is sent only while nothing else makes progress.
func (l *lane) declareLost(c mqtt.Client) error {
	if l.behind == nil || l.resends == 0 {
		return nil
	}
	known, ok := l.opts.Spool.Acknowledged(l.id, l.behind.Epoch)
	if !ok || l.behind.Committed >= known {
		l.behind = nil
		return nil
	}
	lost := known - l.behind.Committed
	body, err := protocol.Marshal(&protocol.Gap{Records: lost, Reason: "restart"})
	if err != nil {
		return err
	}
	l.opts.Log.Warn("the cloud lost records that it had acknowledged", "lane", l.id.String(), "records", lost)
	run := agent.Run{Epoch: l.behind.Epoch, First: l.behind.Committed + 1, Records: []protocol.Record{{
		Kind: protocol.KindGap, Boot: l.opts.Spool.Boot(), Mono: l.opts.Clock.Mono(), Wall: l.opts.Clock.Wall(), Span: lost, Body: body,
	}}}
	l.behind = nil
	_, err = l.publish(c, &run)
	return err
}
