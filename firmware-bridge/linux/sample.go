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
	into.Mono = d.opts.Start().Milliseconds()
	into.Wall = d.opts.Now().UnixMilli()
	into.Values = d.columns(&r, into.Values[:0])
	if d.schema == nil || !slices.Equal(d.metrics, d.schema.Metrics) {
		if d.schema, err = protocol.NewSchema(slices.Clone(d.metrics)); err != nil {
			return fmt.Errorf("linux: sample: %w", err)
		}
	}
	into.Schema = d.schema
	return nil
}

// targets says what is probed in this round and which of it is asked now.
func (d *Driver) targets(r *round) (ask []*target) {
	p := &d.probes
	if def, ok := d.view.defaultRoute(); ok && def.Gateway.IsValid() {
		r.gateway = p.ping("gateway", def.Gateway)
		ask = append(ask, r.gateway)
	}
	if d.opts.Probe.IsValid() {
		r.wan = p.ping("wan", d.opts.Probe)
		ask = append(ask, r.wan)
	}
	if host, port, err := net.SplitHostPort(d.opts.Cloud); err == nil {
		if r.cloud = p.get("cloud", netip.Addr{}); r.cloud == nil {
			c := &cloudAsker{host: host, port: port, resolvers: func() []netip.Addr {
				file := resolverFile{path: d.resolver.path}
				return file.active()
			}}
			r.cloud = p.want("cloud", netip.Addr{}, c.ask)
			r.cloud.close = c.pings.close
		}
		ask = append(ask, r.cloud)
	}
	r.active = d.resolver.active()
	for _, a := range r.active {
		t := p.query(a)
		t.skipped = 0
		r.resolvers = append(r.resolvers, t)
		ask = append(ask, t)
	}
	for _, a := range d.opts.Alternatives {
		if slices.Contains(r.active, a) {
			continue
		}
		t := p.query(a)
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

// columns lists the metrics there are now in d.metrics and appends their values.
func (d *Driver) columns(r *round, values []float64) []float64 {
	d.metrics = d.metrics[:0]
	add := func(name, instance string, kind protocol.MetricKind, scale int8, value float64) {
		d.metrics = append(d.metrics, protocol.Metric{Name: name, Instance: instance, Kind: kind, Scale: scale})
		values = append(values, value)
	}
	gauge := func(name, instance string, scale int8, value float64) {
		add(name, instance, protocol.Gauge, scale, value)
	}
	counter := func(name, instance string, value float64) { add(name, instance, protocol.Counter, 0, value) }

	silent := r.gateway.mute() && d.isNeighbour(r.gateway)
	gauge("gateway.reachable", "", 0, truth(silent || r.gateway.alive()))
	if !silent {
		gauge("gateway.rtt_ms", "", 2, r.gateway.latency())
		gauge("gateway.loss_ratio", "", 3, r.gateway.failures())
	}
	if d.opts.Probe.IsValid() {
		gauge("wan.rtt_ms", "", 2, r.wan.latency())
		gauge("wan.loss_ratio", "", 3, r.wan.failures())
	}
	if d.opts.Cloud != "" {
		gauge("cloud.rtt_ms", "", 2, r.cloud.latency())
		gauge("cloud.loss_ratio", "", 3, r.cloud.failures())
	}
	for _, t := range r.resolvers {
		gauge("dns.latency_ms", t.name, 2, t.latency())
		gauge("dns.failure_ratio", t.name, 3, t.failures())
		gauge("dns.active", t.name, 0, truth(slices.Contains(r.active, t.addr)))
	}
	out, again := d.sys.tcp()
	counter("tcp.segments_out", "", out)
	counter("tcp.retransmits", "", again)

	def, hasDefault := d.view.defaultRoute()
	if len(d.speeds) > len(d.view.links) { // some are gone
		clear(d.speeds)
	}
	for _, l := range d.view.interfaces() {
		s := &l.Stats
		gauge("iface.carrier", l.Name, 0, truth(l.Carrier))
		counter("iface.rx_bytes", l.Name, float64(s.RxBytes))
		counter("iface.tx_bytes", l.Name, float64(s.TxBytes))
		counter("iface.rx_packets", l.Name, float64(s.RxPackets))
		counter("iface.tx_packets", l.Name, float64(s.TxPackets))
		counter("iface.rx_errors", l.Name, float64(s.RxErrors))
		counter("iface.tx_errors", l.Name, float64(s.TxErrors))
		counter("iface.rx_drops", l.Name, float64(s.RxDropped))
		counter("iface.tx_drops", l.Name, float64(s.TxDropped))
		gauge("iface.speed_mbps", l.Name, 0, d.speeds.of(&l))
		age := math.NaN()
		if lease, ok := d.view.lease(l.Index); ok {
			age = lease.Age.Seconds()
		}
		gauge("dhcp.lease_age_s", l.Name, 0, age)
		gauge("route.default", l.Name, 0, truth(hasDefault && def.Index == l.Index))
		if st, ok := d.wifi.station(l.Index); ok {
			gauge("wifi.rssi_dbm", l.Name, 0, st.rssi)
			gauge("wifi.bitrate_mbps", l.Name, 1, st.bitrate)
			counter("wifi.retries", l.Name, st.retries)
			counter("wifi.beacon_loss", l.Name, st.beaconLoss)
		}
	}
	gauge("cpu.busy_ratio", "", 3, d.sys.cpu())
	gauge("mem.available_bytes", "", -3, d.sys.memory())
	gauge("disk.free_bytes", "", -6, d.sys.diskFree())
	for i, z := range d.sys.zones {
		gauge("temp_celsius", z.name, 1, d.sys.temperature(i))
	}
	gauge("uptime_s", "", 0, d.sys.up())
	gauge("boot.reason_code", "", 0, d.sys.reboot)
	return values
}

// isNeighbour is whether the ARP table has the gateway: where we may not ping, and where pings are dropped, as
// many routers do, it tells whether the gateway is there.
func (d *Driver) isNeighbour(gateway *target) bool {
	def, _ := d.view.defaultRoute()
	list, err := d.nl.Neighbours()
	return err == nil && gateway != nil && slices.ContainsFunc(list, func(n rtnl.Neighbour) bool {
		return n.IP == gateway.addr && n.Index == def.Index && neighbourAlive(n)
	})
}

// neighbourAlive: reachable, stale, delay, probe or permanent; not incomplete, failed or unused.
func neighbourAlive(n rtnl.Neighbour) bool { return n.State&(0x02|0x04|0x08|0x10|0x80) != 0 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
