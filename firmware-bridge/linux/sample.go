package linux

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
)

// binding is one column: its metric and how it is read from the driver's state of this round.
type binding struct {
	metric protocol.Metric
	read   func() float64
}

// round is what one sample is taken from.
type round struct {
	gateway, wan, cloud *target
	resolvers           []*target // the active ones first
	active              []netip.Addr
}

// alternativeEvery is how often, in samples, resolvers that are not in use are asked.
const alternativeEvery = 6

// Sample reads everything once. Probes that take longer than Options.Wait finish in the background and
// show in the next sample.
func (d *Driver) Sample(ctx context.Context) (*protocol.Sample, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.take(ctx, &d.sample); err != nil {
		return nil, err
	}
	return &d.sample, nil
}

// take reads everything into a sample, with the lock held.
func (d *Driver) take(ctx context.Context, into *protocol.Sample) error {
	v, err := readView(d.nl)
	if err != nil {
		return fmt.Errorf("linux: sample: %w", err)
	}
	d.view = v
	var r round
	ask := d.targets(&r)
	d.probes.round(ctx, ask, d.opts.Wait)
	d.wifi.refresh(d.view.interfaces())
	if err := d.columns(r); err != nil {
		return fmt.Errorf("linux: sample: %w", err)
	}
	if len(into.Values) != len(d.bind) {
		into.Values = make([]float64, len(d.bind))
	}
	into.Schema = d.schema
	into.Mono = d.opts.Start().Milliseconds()
	into.Wall = d.opts.Now().UnixMilli()
	for i := range d.bind {
		into.Values[i] = d.bind[i].read()
	}
	return nil
}

// targets says what is probed in this round and which of it is asked now.
func (d *Driver) targets(r *round) (ask []*target) {
	p := &d.probes
	if def, ok := d.view.defaultRoute(); ok && def.Gateway.IsValid() {
		r.gateway = p.want("gateway", def.Gateway, pinger(def.Gateway))
		ask = append(ask, r.gateway)
	}
	if d.opts.Probe.IsValid() {
		r.wan = p.want("wan", d.opts.Probe, pinger(d.opts.Probe))
		ask = append(ask, r.wan)
	}
	if host, port, err := net.SplitHostPort(d.opts.Cloud); err == nil {
		if r.cloud = p.get("cloud", netip.Addr{}); r.cloud == nil {
			c := &cloudAsker{host: host, port: port, resolvers: func() []netip.Addr {
				file := resolverFile{path: d.resolver.path}
				return file.active()
			}}
			r.cloud = p.want("cloud", netip.Addr{}, c.ask)
		}
		ask = append(ask, r.cloud)
	}
	r.active = d.resolver.active()
	for _, a := range r.active {
		t := p.want("dns", a, querier(a, p.name))
		t.skipped = 0
		r.resolvers = append(r.resolvers, t)
		ask = append(ask, t)
	}
	for _, a := range d.opts.Alternatives {
		if slices.Contains(r.active, a) {
			continue
		}
		t := p.want("dns", a, querier(a, p.name))
		if t.skipped%alternativeEvery == 0 {
			ask = append(ask, t)
		}
		t.skipped++
		r.resolvers = append(r.resolvers, t)
	}
	keep := slices.Clone(r.resolvers)
	for _, t := range []*target{r.gateway, r.wan, r.cloud} {
		if t != nil {
			keep = append(keep, t)
		}
	}
	p.keep(keep)
	return ask
}

// columns binds the metrics anew and changes the schema only when they are others than before.
func (d *Driver) columns(r round) error {
	b := d.bind[:0]
	add := func(name, instance string, kind protocol.MetricKind, scale int8, read func() float64) {
		b = append(b, binding{protocol.Metric{Name: name, Instance: instance, Kind: kind, Scale: scale}, read})
	}
	gauge := func(name, instance string, scale int8, read func() float64) {
		add(name, instance, protocol.Gauge, scale, read)
	}
	counter := func(name, instance string, read func() float64) { add(name, instance, protocol.Counter, 0, read) }

	gauge("gateway.reachable", "", 0, func() float64 { return d.gatewayReachable(r.gateway) })
	d.bindPath(gauge, "gateway", r.gateway, true)
	d.bindPath(gauge, "wan", r.wan, d.opts.Probe.IsValid())
	d.bindPath(gauge, "cloud", r.cloud, d.opts.Cloud != "")
	for _, t := range r.resolvers {
		name := t.addr.String()
		active := truth(slices.Contains(r.active, t.addr))
		gauge("dns.latency_ms", name, 2, t.latency)
		gauge("dns.failure_ratio", name, 3, t.failures)
		gauge("dns.active", name, 0, func() float64 { return active })
	}
	out, again := d.sys.tcp()
	counter("tcp.segments_out", "", func() float64 { return out })
	counter("tcp.retransmits", "", func() float64 { return again })

	def, hasDefault := d.view.defaultRoute()
	for _, l := range d.view.interfaces() {
		s := &l.Stats
		gauge("iface.carrier", l.Name, 0, func() float64 { return truth(l.Carrier) })
		for _, c := range []struct {
			name  string
			value uint64
		}{
			{"iface.rx_bytes", s.RxBytes},
			{"iface.tx_bytes", s.TxBytes},
			{"iface.rx_packets", s.RxPackets},
			{"iface.tx_packets", s.TxPackets},
			{"iface.rx_errors", s.RxErrors},
			{"iface.tx_errors", s.TxErrors},
			{"iface.rx_drops", s.RxDropped},
			{"iface.tx_drops", s.TxDropped},
		} {
			counter(c.name, l.Name, func() float64 { return float64(c.value) })
		}
		gauge("iface.speed_mbps", l.Name, 0, func() float64 { return speed(l.Name) })
		if lease, ok := d.view.lease(l.Index); ok {
			gauge("dhcp.lease_age_s", l.Name, 0, func() float64 { return lease.Age.Seconds() })
		} else {
			gauge("dhcp.lease_age_s", l.Name, 0, math.NaN)
		}
		gauge("route.default", l.Name, 0, func() float64 { return truth(hasDefault && def.Index == l.Index) })
		if st, ok := d.wifi.station(l.Index); ok {
			gauge("wifi.rssi_dbm", l.Name, 0, func() float64 { return st.rssi })
			gauge("wifi.bitrate_mbps", l.Name, 1, func() float64 { return st.bitrate })
			counter("wifi.retries", l.Name, func() float64 { return st.retries })
			counter("wifi.beacon_loss", l.Name, func() float64 { return st.beaconLoss })
		}
	}
	gauge("cpu.busy_ratio", "", 3, d.sys.cpu)
	gauge("mem.available_bytes", "", -3, d.sys.memory)
	gauge("disk.free_bytes", "", -6, d.sys.diskFree)
	for i, z := range d.sys.zones {
		gauge("temp_celsius", z.name, 1, func() float64 { return d.sys.temperature(i) })
	}
	gauge("uptime_s", "", 0, d.sys.up)
	gauge("boot.reason_code", "", 0, func() float64 { return d.sys.reboot })

	d.bind = b
	if d.schema != nil && slices.EqualFunc(b, d.schema.Metrics, func(b binding, m protocol.Metric) bool { return b.metric == m }) {
		return nil
	}
	metrics := make([]protocol.Metric, len(b))
	for i := range b {
		metrics[i] = b[i].metric
	}
	schema, err := protocol.NewSchema(metrics)
	if err != nil {
		return err
	}
	d.schema = schema
	return nil
}

// bindPath adds the round-trip time and loss of a probed path, NaN for as long as it has no target.
func (d *Driver) bindPath(gauge func(string, string, int8, func() float64), role string, t *target, wanted bool) {
	if !wanted {
		return
	}
	rtt, loss := math.NaN, math.NaN
	if t != nil {
		rtt, loss = t.latency, t.failures
	}
	gauge(role+".rtt_ms", "", 2, rtt)
	gauge(role+".loss_ratio", "", 3, loss)
}

// gatewayReachable is by ping, or by the ARP table where we may not ping. Without a gateway it is 0.
func (d *Driver) gatewayReachable(t *target) float64 {
	if t == nil {
		return 0
	}
	if t.forbidden() {
		list, err := d.nl.Neighbours()
		if err != nil {
			return math.NaN()
		}
		for _, n := range list {
			if n.IP == t.addr {
				return truth(neighbourAlive(n))
			}
		}
		return 0
	}
	ok, known := t.alive()
	if !known {
		return math.NaN()
	}
	return truth(ok)
}

// neighbourAlive: reachable, stale, delay, probe or permanent; not incomplete, failed or unused.
func neighbourAlive(n rtnl.Neighbour) bool { return n.State&(0x02|0x04|0x08|0x10|0x80) != 0 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
