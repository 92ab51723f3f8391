package replay

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// The limits of the linux driver's own diagnosis.
const (
	lossy        = 0.05
	resolverSlow = 200.0 // ms
	gatewaySlow  = 100.0
	uplinkSlow   = 250.0
	weakSignal   = -75.0 // dBm
)

// inquiry reads a diagnosis off the values of one moment.
type inquiry struct {
	s    *protocol.Sample
	tell func(protocol.Step)
	done []protocol.Step
}

var diagnoses = map[string]func(q *inquiry) (protocol.Verdict, error){
	"ping": (*inquiry).ping, "dns": (*inquiry).dns, "dhcp": (*inquiry).dhcp,
	"interface": (*inquiry).ifaces, "wifi": (*inquiry).wifi, "connection": (*inquiry).connection,
}

// notRecorded are diagnoses that a trace has no answer to.
var notRecorded = []string{"traceroute", "http", "speed"}

// Diagnose says what the values of now show. It knows the paths that were recorded and no others, so
// it takes no target and no arguments.
func (d *Driver) Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error) {
	if err := ctx.Err(); err != nil {
		return protocol.Diagnosis{}, fmt.Errorf("replay: diagnose %s: %w", req.Kind, err)
	}
	look, ok := diagnoses[req.Kind]
	if !ok {
		if slices.Contains(notRecorded, req.Kind) {
			return protocol.Diagnosis{}, fmt.Errorf("%w: a recorded device cannot do a %s", bridge.ErrUnsupported, req.Kind)
		}
		return protocol.Diagnosis{}, argument("kind", "%q; want connection, dhcp, dns, interface, ping, wifi", req.Kind)
	}
	if req.Target != "" {
		return protocol.Diagnosis{}, argument("target", "%q; a recorded device takes none", req.Target)
	}
	for name := range req.Args {
		return protocol.Diagnosis{}, argument("args."+name, "unknown; want none")
	}
	d.mu.Lock()
	var now protocol.Sample
	err := d.take(&now)
	d.mu.Unlock()
	if err != nil {
		return protocol.Diagnosis{}, fmt.Errorf("replay: diagnose %s: %w", req.Kind, err)
	}
	q := &inquiry{s: &now, tell: step}
	v, err := look(q)
	if err != nil {
		return protocol.Diagnosis{}, err
	}
	return protocol.Diagnosis{Request: req, Steps: q.done, Verdict: v}, nil
}

func (q *inquiry) add(s protocol.Step) {
	if len(q.done) == protocol.MaxSteps {
		return
	}
	q.done = append(q.done, s)
	if q.tell != nil {
		q.tell(s)
	}
}

// instances lists the instances of a metric that have a value.
func (q *inquiry) instances(name string) (list []string) {
	for i, m := range q.s.Schema.Metrics {
		if m.Name == name && !math.IsNaN(q.s.Values[i]) {
			list = append(list, m.Instance)
		}
	}
	return list
}

var well = protocol.Verdict{Segment: protocol.SegmentNone, Code: "all.well"}

// path records a probed path and returns its loss (NaN when not recorded) and round-trip time.
func (q *inquiry) path(role string) (loss, rtt float64) {
	loss, rtt = q.s.Get(role+".loss_ratio", ""), q.s.Get(role+".rtt_ms", "")
	s := protocol.Step{Name: role + ".ping", Status: protocol.StatusOK, Args: map[string]string{"loss_ratio": text(loss, 3), "rtt_ms": text(rtt, 2)}}
	switch {
	case math.IsNaN(loss):
		s.Status, s.Code, s.Args = protocol.StatusSkipped, "not.recorded", nil
	case loss >= 1:
		s.Status, s.Code = protocol.StatusFail, "timeout"
	case loss > 0:
		s.Status, s.Code = protocol.StatusWarn, "loss"
	}
	q.add(s)
	return loss, rtt
}

func (q *inquiry) ping() (protocol.Verdict, error) {
	loss, rtt := q.path("wan")
	switch {
	case math.IsNaN(loss):
		return protocol.Verdict{}, fmt.Errorf("%w: no path to the internet was recorded", bridge.ErrUnsupported)
	case loss >= lossy:
		return protocol.Verdict{Segment: protocol.SegmentUnknown, Code: "host.loss", Args: map[string]string{"loss_ratio": text(loss, 3)}}, nil
	}
	return protocol.Verdict{Segment: protocol.SegmentNone, Code: "host.reachable", Args: map[string]string{"rtt_ms": text(rtt, 2)}}, nil
}

func (q *inquiry) dns() (protocol.Verdict, error) {
	verdict, seen := well, false
	for _, r := range q.instances("dns.active") {
		if q.s.Get("dns.active", r) != 1 {
			continue
		}
		seen = true
		fail, ms := q.s.Get("dns.failure_ratio", r), q.s.Get("dns.latency_ms", r)
		s := protocol.Step{Name: "dns.query", Target: r, Status: protocol.StatusOK, Args: map[string]string{"failure_ratio": text(fail, 3), "latency_ms": text(ms, 2)}}
		code := ""
		switch {
		case fail >= 1:
			s.Status, s.Code, code = protocol.StatusFail, "timeout", "resolver.dead"
		case fail > 0:
			s.Status, s.Code, code = protocol.StatusWarn, "loss", "resolver.unreliable"
		case ms > resolverSlow:
			s.Status, s.Code, code = protocol.StatusWarn, "slow", "resolver.slow"
		}
		q.add(s)
		if code != "" && verdict.Segment == protocol.SegmentNone {
			verdict = protocol.Verdict{Segment: protocol.SegmentISP, Code: code, Args: map[string]string{"resolver": r, "latency_ms": text(ms, 2)}}
			if ip, err := netip.ParseAddr(r); err == nil && ip.IsPrivate() {
				verdict.Segment = protocol.SegmentHome
			}
		}
	}
	if !seen {
		return protocol.Verdict{}, fmt.Errorf("%w: no resolver was recorded", bridge.ErrUnsupported)
	}
	return verdict, nil
}

func (q *inquiry) dhcp() (protocol.Verdict, error) {
	list := q.instances("dhcp.lease_age_s")
	if len(list) == 0 {
		return protocol.Verdict{}, fmt.Errorf("%w: no lease was recorded", bridge.ErrUnsupported)
	}
	for _, name := range list {
		q.add(protocol.Step{Name: "dhcp.lease", Target: name, Status: protocol.StatusOK, Args: map[string]string{"age_s": text(q.s.Get("dhcp.lease_age_s", name), 0)}})
	}
	return well, nil
}

func (q *inquiry) ifaces() (protocol.Verdict, error) {
	list := q.instances("iface.carrier")
	if len(list) == 0 {
		return protocol.Verdict{}, fmt.Errorf("%w: no interface was recorded", bridge.ErrUnsupported)
	}
	verdict := well
	for _, name := range list {
		s := protocol.Step{Name: "interface.state", Target: name, Status: protocol.StatusOK}
		if q.s.Get("iface.carrier", name) == 0 {
			s.Status, s.Code = protocol.StatusFail, "no.carrier"
			verdict = protocol.Verdict{Segment: protocol.SegmentHome, Code: "interface.no.carrier", Args: map[string]string{"interface": name}}
		}
		q.add(s)
	}
	return verdict, nil
}

func (q *inquiry) wifi() (protocol.Verdict, error) {
	list := q.instances("wifi.rssi_dbm")
	if len(list) == 0 {
		return protocol.Verdict{}, fmt.Errorf("%w: this device has no Wi-Fi", bridge.ErrUnsupported)
	}
	verdict := well
	for _, name := range list {
		rssi := q.s.Get("wifi.rssi_dbm", name)
		s := protocol.Step{Name: "wifi.link", Target: name, Status: protocol.StatusOK, Args: map[string]string{"rssi_dbm": text(rssi, 0), "bitrate_mbps": text(q.s.Get("wifi.bitrate_mbps", name), 1)}}
		if rssi < weakSignal {
			s.Status, s.Code = protocol.StatusWarn, "weak"
			verdict = protocol.Verdict{Segment: protocol.SegmentHome, Code: "wifi.weak", Args: map[string]string{"interface": name, "rssi_dbm": text(rssi, 0)}}
		}
		q.add(s)
	}
	return verdict, nil
}

// connection goes from the inside out; the first part that is broken is to blame.
func (q *inquiry) connection() (protocol.Verdict, error) {
	var found []protocol.Verdict
	note := func(seg protocol.Segment, code string, args map[string]string) {
		found = append(found, protocol.Verdict{Segment: seg, Code: code, Args: args})
	}
	for _, look := range []func(*inquiry) (protocol.Verdict, error){(*inquiry).ifaces, (*inquiry).wifi} {
		if v, err := look(q); err == nil && v.Segment != protocol.SegmentNone {
			found = append(found, v)
		}
	}
	gateway, rtt := q.path("gateway")
	switch {
	case gateway >= 1:
		note(protocol.SegmentHome, "gateway.unreachable", nil)
	case gateway >= lossy:
		note(protocol.SegmentHome, "gateway.loss", map[string]string{"loss_ratio": text(gateway, 3)})
	case rtt > gatewaySlow:
		note(protocol.SegmentHome, "gateway.slow", map[string]string{"rtt_ms": text(rtt, 2)})
	}
	wan, rtt := q.path("wan")
	inner := 0.0
	if !math.IsNaN(gateway) {
		inner = gateway
	}
	switch {
	case wan >= 1:
		note(protocol.SegmentISP, "uplink.down", nil)
	case wan >= lossy && wan > inner+lossy:
		note(protocol.SegmentISP, "uplink.loss", map[string]string{"loss_ratio": text(wan, 3)})
	case rtt > uplinkSlow:
		note(protocol.SegmentISP, "uplink.slow", map[string]string{"rtt_ms": text(rtt, 2)})
	}
	if v, err := q.dns(); err == nil && v.Segment != protocol.SegmentNone && !(wan >= lossy) {
		found = append(found, v)
	}
	if cloud, _ := q.path("cloud"); cloud >= 1 && !(wan >= 1) {
		note(protocol.SegmentCloud, "cloud.unreachable", nil)
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return well, nil
}

func text(v float64, digits int) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
