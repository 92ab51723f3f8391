package health

import (
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Fresh is how long a diagnosis says where the path breaks now.
const Fresh = 30 * time.Minute

// Scene is what blame follows from.
type Scene struct {
	Incident *Incident        // that the home is in; nil for none
	Verdict  protocol.Segment // of a fresh diagnosis; "" without one
	Away     bool             // the device itself is away
	Others   int              // other devices of the home that are known
	Missing  int              // of these away too
	Failing  bool             // something is held against the device
	Homes    int              // of the whole fleet, to compare with
}

// enough homes to say that everybody else can reach us.
const enough = 10

// Blame names the part of the path that is at fault, and SegmentUnknown rather than guess.
//
// Who else is affected comes first: when our whole fleet vanishes it is us, whatever a hub made of it, and
// when a region or a provider's homes do, it is not their routers. Then the place where the path breaks,
// as the hub itself found it, with one correction: a hub that cannot reach us while everybody else can
// is cut off on its own way. Without a diagnosis the rest of the home tells: all of it away is the home's
// network, one device alone is the device.
func Blame(s Scene) protocol.Segment {
	switch {
	case s.Incident != nil:
		return s.Incident.Segment
	case s.Verdict == protocol.SegmentCloud && s.Homes >= enough:
		return protocol.SegmentISP
	case s.Verdict == protocol.SegmentNone && !s.Away:
		return protocol.SegmentNone
	case s.Verdict != "" && s.Verdict != protocol.SegmentUnknown && s.Verdict != protocol.SegmentNone:
		return s.Verdict
	case s.Away && s.Others > 0 && s.Missing == s.Others:
		return protocol.SegmentHome
	case s.Away && s.Others > 0 && s.Missing == 0:
		return protocol.SegmentDevice
	case !s.Away && !s.Failing:
		return protocol.SegmentNone
	}
	return protocol.SegmentUnknown
}

// scene gathers what is known around a device.
func (h *Watch) scene(tx store.Tx, home cloud.Home, m *mark, at, now time.Time) (Scene, error) {
	s := Scene{Away: m.Away != nil, Failing: len(m.costs(now)) > 0}
	if m.Segment != "" && now.Sub(m.Judged) <= Fresh {
		s.Verdict = m.Segment
	}
	for o, err := range marks.Scan(tx, store.Range{Prefix: store.Key{home.ID}}) {
		if err != nil {
			return s, err
		}
		if o.Device == m.Device {
			continue
		}
		s.Others++
		if o.Away != nil {
			s.Missing++
		}
	}
	in, ok, err := Covering(tx, home, at)
	if ok {
		s.Incident = &in
	}
	if err != nil {
		return s, err
	}
	c, err := censusOf(tx)
	s.Homes = c.homes()
	return s, err
}

// Settle is how long to wait after a device vanished before anyone is blamed for it: long enough for
// those that vanished with it to be missed too, and for a sweep to see that they are many.
const Settle = 3 * time.Minute

// Judgement is whose fault it is that a device fails.
type Judgement struct {
	Segment  protocol.Segment
	Incident string // id of the incident that explains it; "" for none. With one, no ticket is due.
	Wait     time.Duration
}

// Judge says whom to blame for what happened to a device at a time. While Wait is above zero it is too early:
// ask again then, before opening a ticket.
func (h *Watch) Judge(tx store.Tx, home cloud.Home, device string, at, now time.Time) (Judgement, error) {
	m, err := markOf(tx, home.ID, device)
	if err != nil {
		return Judgement{}, err
	}
	s, err := h.scene(tx, home, &m, at, now)
	if err != nil {
		return Judgement{}, err
	}
	j := Judgement{Segment: Blame(s)}
	if s.Incident != nil {
		j.Incident = s.Incident.ID
	} else {
		j.Wait = max(at.Add(Settle).Sub(now), 0)
	}
	return j, nil
}
