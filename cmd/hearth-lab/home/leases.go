package home

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux"
	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// leasedMark appears when the hub has its first leases.
const leasedMark = "/run/hub-leased"

// keepLeases is the hub's own DHCP client, the one a hub's operating system brings along: it takes a
// lease on every interface, the first being preferred, and renews each at half of its life.
// The agent is another program with a DHCP client of its own; they meet only in the kernel.
func keepLeases(ctx context.Context, interfaces []string) error {
	nl, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer nl.Close()
	type uplink struct {
		name    string
		metric  uint32
		lease   linux.Lease
		granted *nclient4.Lease
		due     time.Time
	}
	ups := make([]*uplink, len(interfaces))
	for i, name := range interfaces {
		ups[i] = &uplink{name: name, metric: uint32(100 * (i + 1)), due: time.Now()}
	}
	resolvers := ""
	for {
		next := ups[0]
		for _, u := range ups {
			if u.due.Before(next.due) {
				next = u
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next.due)):
		}
		lease, err := take(ctx, next.name, &next.granted)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			next.due = time.Now().Add(5 * time.Second)
			continue
		}
		if err := linux.ApplyLease(nl, next.name, lease, metricOf(nl, next.name, next.metric)); err != nil {
			return err
		}
		next.lease, next.due = lease, time.Now().Add(lease.Duration/2)
		if next == ups[0] {
			// Only a change of what the server says is written, so that a resolver that was chosen
			// meanwhile stays.
			if text := resolvConf(lease.Resolvers); text != resolvers {
				resolvers = text
				if err := os.WriteFile("/etc/resolv.conf", []byte(text), 0o644); err != nil {
					return err
				}
			}
		}
		leased := true
		for _, u := range ups {
			leased = leased && u.lease.Addr.IsValid()
		}
		if leased {
			if err := os.WriteFile(leasedMark, nil, 0o644); err != nil {
				return err
			}
		}
	}
}

// take renews the lease that was granted, or asks for a new one when there is none or it is refused.
func take(ctx context.Context, iface string, granted **nclient4.Lease) (linux.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := nclient4.New(iface, nclient4.WithTimeout(time.Second))
	if err != nil {
		return linux.Lease{}, fmt.Errorf("dhcp on %s: %w", iface, err)
	}
	defer c.Close()
	l := *granted
	if l != nil {
		l, err = c.Renew(ctx, l)
	}
	if l == nil || err != nil {
		l, err = c.Request(ctx)
	}
	if err != nil {
		return linux.Lease{}, fmt.Errorf("dhcp on %s: %w", iface, err)
	}
	*granted = l
	return leaseOf(l.ACK)
}

func leaseOf(ack *dhcpv4.DHCPv4) (linux.Lease, error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	bits, _ := ack.SubnetMask().Size()
	if !ok || bits == 0 {
		return linux.Lease{}, fmt.Errorf("dhcp: the server granted %s with mask %s", ack.YourIPAddr, ack.SubnetMask())
	}
	l := linux.Lease{Addr: netip.PrefixFrom(ip, bits), Duration: ack.IPAddressLeaseTime(time.Hour)}
	if r := ack.Router(); len(r) > 0 {
		l.Gateway, _ = netip.AddrFromSlice(r[0].To4())
	}
	for _, d := range ack.DNS() {
		if ip, ok := netip.AddrFromSlice(d.To4()); ok {
			l.Resolvers = append(l.Resolvers, ip)
		}
	}
	return l, nil
}

// metricOf is the metric of the default route that the interface has, or the usual one: a fail-over
// must outlive a renewal.
func metricOf(nl *rtnl.Conn, name string, usual uint32) uint32 {
	links, err := nl.Links()
	if err != nil {
		return usual
	}
	routes, err := nl.Routes()
	if err != nil {
		return usual
	}
	for _, l := range links {
		for _, r := range routes {
			if l.Name == name && r.Index == l.Index && r.Dst.Bits() == 0 {
				return r.Metric
			}
		}
	}
	return usual
}

func resolvConf(resolvers []netip.Addr) string {
	var b strings.Builder
	for _, r := range resolvers {
		fmt.Fprintf(&b, "nameserver %s\n", r)
	}
	return b.String()
}
