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
)

// leasedMark appears when the hub has its first leases.
const leasedMark = "/run/hub-leased"

// keepLeases is the hub's own DHCP client, the one a hub's operating system brings along: it takes a
// lease on every interface, the first being preferred, and renews each at half of its life.
// The agent is another program and talks to the kernel, not to this one.
func keepLeases(ctx context.Context, interfaces []string) error {
	nl, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer nl.Close()
	type uplink struct {
		name   string
		metric uint32
		lease  linux.Lease
		due    time.Time
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
		var current netip.Addr
		if next.lease.Addr.IsValid() {
			current = next.lease.Addr.Addr()
		}
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		lease, err := linux.RequestLease(try, next.name, current)
		cancel()
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
