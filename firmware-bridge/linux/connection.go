package linux

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
)

// From here on a path is called lossy or slow. A home's own network loses nothing when it is well.
const (
	lossy       = 0.05
	uplinkSlow  = 250 * time.Millisecond
	gatewaySlow = 100 * time.Millisecond
	gatewayPing = 10
	uplinkPings = 40 // of a line that loses a quarter, all but one run in four hundred sees more than lossy
)

// connection walks the path from the device to our cloud and names the first part that is broken:
// a fault further in explains what is seen further out.
func (q *inquiry) connection() (protocol.Verdict, error) {
	v, err := q.view()
	if err != nil {
		return protocol.Verdict{}, err
	}
	def, ok := v.defaultRoute()
	if bad := q.device(&v, def, ok); bad != nil {
		return *bad, nil
	}
	var found []protocol.Verdict
	note := func(bad *protocol.Verdict) {
		if bad != nil {
			found = append(found, *bad)
		}
	}
	var gateway, uplink series
	var home *protocol.Verdict
	if def.Gateway.IsValid() {
		gateway = q.pings("gateway.ping", def.Gateway, gatewayPing)
		home = homeVerdict(gateway, def, v.name(def.Index))
	}
	if q.d.opts.Probe.IsValid() {
		uplink = q.pings("wan.ping", q.d.opts.Probe, uplinkPings)
	}
	switch {
	case home == nil || uplink.answered > 0 && gateway.answered == 0:
		// All is well, or it is a router that answers no pings but forwards.
	case gateway.answered == 0:
		return *home, nil // nothing beyond can be seen
	default:
		note(home)
	}
	if uplink.sent > 0 {
		note(uplinkVerdict(uplink, gateway))
	}
	dead := uplink.sent > 0 && uplink.answered == 0
	if names := q.resolversVerdict(q.d.opts.ProbeName); names.Segment != protocol.SegmentNone {
		// On a lossy line queries are lost too: then the line is to blame, not the resolver.
		if uplink.sent == 0 || uplink.loss() < lossy || names.Code == "resolver.none" {
			note(&names)
		}
	}
	if !dead {
		note(q.cloud(len(found) == 0))
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return verdict(protocol.SegmentNone, "all.well"), nil
}

// device checks the way out of the device itself.
func (q *inquiry) device(v *view, def rtnl.Route, hasDefault bool) *protocol.Verdict {
	began := time.Now()
	if !hasDefault {
		// Say of each interface what keeps it from having one.
		result := verdict(protocol.SegmentDevice, "route.none")
		for _, l := range v.interfaces() {
			switch code := q.iface(v, l); code {
			case "interface.no.carrier":
				result = verdict(protocol.SegmentHome, code, "interface", l.Name)
			case "interface.down", "interface.no.address":
				if result.Code == "route.none" {
					result = verdict(protocol.SegmentDevice, code, "interface", l.Name)
				}
			}
		}
		q.add(began, protocol.Step{Name: "route.default", Status: protocol.StatusFail, Code: "none"})
		return &result
	}
	name := v.name(def.Index)
	if l, ok := v.link(name); ok {
		if code := q.iface(v, l); code != "" {
			bad := verdict(protocol.SegmentDevice, code, "interface", name)
			if code == "interface.no.carrier" {
				bad.Segment = protocol.SegmentHome
			}
			return &bad
		}
	}
	args := map[string]string{"interface": name}
	if def.Gateway.IsValid() {
		args["gateway"] = def.Gateway.String()
	}
	q.add(began, protocol.Step{Name: "route.default", Status: protocol.StatusOK, Args: args})
	began = time.Now()
	if lease, ok := v.lease(def.Index); ok {
		q.add(began, protocol.Step{Name: "dhcp.lease", Target: name, Status: protocol.StatusOK, Args: map[string]string{
			"address": lease.Prefix.String(), "age_s": decimal(lease.Age.Seconds(), 0), "left_s": decimal(lease.Valid.Seconds(), 0),
		}})
	}
	return nil
}

func homeVerdict(s series, def rtnl.Route, iface string) *protocol.Verdict {
	if s.answered == 0 && s.last == errForbidden {
		return nil // cannot be told, and is no fault
	}
	var bad protocol.Verdict
	switch {
	case s.answered == 0:
		bad = verdict(protocol.SegmentHome, "gateway.unreachable", "gateway", def.Gateway.String(), "interface", iface)
	case s.loss() >= lossy:
		bad = verdict(protocol.SegmentHome, "gateway.loss", "gateway", def.Gateway.String(), "loss_ratio", decimal(s.loss(), 3))
	case s.mean > gatewaySlow:
		bad = verdict(protocol.SegmentHome, "gateway.slow", "gateway", def.Gateway.String(), "rtt_ms", millis(s.mean))
	default:
		return nil
	}
	return &bad
}

func uplinkVerdict(s, gateway series) *protocol.Verdict {
	var bad protocol.Verdict
	switch {
	case s.answered == 0 && s.last == errForbidden:
		return nil
	case s.answered == 0:
		bad = verdict(protocol.SegmentISP, "uplink.down")
	case s.loss() >= lossy && s.loss() > gateway.loss()+lossy:
		bad = verdict(protocol.SegmentISP, "uplink.loss", "loss_ratio", decimal(s.loss(), 3))
	case s.mean > uplinkSlow && s.mean > 2*gateway.mean:
		bad = verdict(protocol.SegmentISP, "uplink.slow", "rtt_ms", millis(s.mean))
	default:
		return nil
	}
	return &bad
}

// cloud opens connections to our own service. soFarWell says whether everything before was.
func (q *inquiry) cloud(soFarWell bool) *protocol.Verdict {
	began := time.Now()
	host, port, err := net.SplitHostPort(q.d.opts.Cloud)
	if err != nil {
		q.add(began, protocol.Step{Name: "cloud.connect", Status: protocol.StatusSkipped, Code: "none.configured"})
		return nil
	}
	ip, err := lookup(q.ctx, append(q.d.resolvers(), q.d.opts.Alternatives...), host)
	if err != nil {
		q.add(began, protocol.Step{Name: "cloud.connect", Target: host, Status: protocol.StatusFail, Code: "not.found", Args: map[string]string{"error": clip(err.Error())}})
		if !soFarWell {
			return nil
		}
		bad := verdict(protocol.SegmentCloud, "cloud.name.not.found", "host", host)
		return &bad
	}
	const tries = 2
	worked, last := 0, error(nil)
	var took time.Duration
	for range tries {
		t, err := greet(q.ctx, net.JoinHostPort(ip.String(), port), host)
		if err != nil {
			last = err
			continue
		}
		took, worked = t, worked+1
	}
	s := protocol.Step{Name: "cloud.connect", Target: q.d.opts.Cloud, Status: protocol.StatusOK, Args: map[string]string{"tries": strconv.Itoa(tries), "worked": strconv.Itoa(worked)}}
	if worked > 0 {
		s.Args["rtt_ms"] = millis(took)
	}
	switch {
	case worked == 0:
		s.Status, s.Code = protocol.StatusFail, codeOf(last)
	case worked < tries:
		s.Status, s.Code = protocol.StatusWarn, "loss"
	}
	q.add(began, s)
	if worked > 0 {
		return nil // a try that failed on an otherwise good line is no verdict
	}
	bad := verdict(protocol.SegmentCloud, "cloud.unreachable", "host", host)
	return &bad
}

// greet opens a TLS session and drops it. A connection alone proves little: captive portals, relays and
// load balancers open one for a service that is gone. Who answers is not checked here, since nothing
// is sent and nothing is believed; the agent's own connection does check.
func greet(ctx context.Context, address, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	began := time.Now()
	d := tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", address)
	switch {
	case err == nil:
		took := time.Since(began)
		conn.Close()
		return took, nil
	case isTimeout(err) || ctx.Err() != nil:
		return 0, errTimeout
	}
	return 0, errUnreachable
}
