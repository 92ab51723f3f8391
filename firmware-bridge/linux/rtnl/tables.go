package rtnl

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Links lists the interfaces with their counters.
func (c *Conn) Links() ([]Link, error) {
	var links []Link
	err := c.Request(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfInfomsg), func(kind uint16, p []byte) {
		if kind != unix.RTM_NEWLINK || len(p) < unix.SizeofIfInfomsg {
			return
		}
		flags := order.Uint32(p[8:])
		l := Link{Kind: order.Uint16(p[2:]), Index: int(order.Uint32(p[4:])), Up: flags&unix.IFF_UP != 0}
		// LOWER_UP is the carrier itself; RUNNING follows it a moment later.
		l.Carrier = flags&unix.IFF_LOWER_UP != 0
		Attributes(p[unix.SizeofIfInfomsg:], func(kind uint16, v []byte) {
			switch kind {
			case unix.IFLA_IFNAME:
				l.Name = Text(v)
			case unix.IFLA_MTU:
				if len(v) >= 4 {
					l.MTU = order.Uint32(v)
				}
			case unix.IFLA_ADDRESS:
				if len(v) == 6 {
					l.HWAddr = [6]byte(v)
				}
			case unix.IFLA_CARRIER_CHANGES:
				if len(v) >= 4 {
					l.CarrierChanges = order.Uint32(v)
				}
			case unix.IFLA_STATS64:
				if len(v) >= 64 {
					u := func(i int) uint64 { return order.Uint64(v[8*i:]) }
					l.Stats = Stats{u(0), u(1), u(2), u(3), u(4), u(5), u(6), u(7)}
				}
			}
		})
		links = append(links, l)
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// Addrs lists the IPv4 addresses.
func (c *Conn) Addrs() ([]Addr, error) {
	var addrs []Addr
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, fmt.Errorf("read clock: %w", err)
	}
	msg := make([]byte, unix.SizeofIfAddrmsg)
	msg[0] = unix.AF_INET
	err := c.Request(unix.RTM_GETADDR, unix.NLM_F_DUMP, msg, func(kind uint16, p []byte) {
		if kind != unix.RTM_NEWADDR || len(p) < unix.SizeofIfAddrmsg || p[0] != unix.AF_INET {
			return
		}
		a := Addr{Index: int(order.Uint32(p[4:])), Valid: -1}
		bits := int(p[1])
		Attributes(p[unix.SizeofIfAddrmsg:], func(kind uint16, v []byte) {
			ip, isIP := netip.AddrFromSlice(v)
			switch {
			case kind == unix.IFA_LOCAL && isIP:
				a.Prefix = netip.PrefixFrom(ip, bits)
			case kind == unix.IFA_ADDRESS && isIP && !a.Prefix.IsValid():
				a.Prefix = netip.PrefixFrom(ip, bits)
			case kind == unix.IFA_BROADCAST && isIP:
				a.Broadcast = ip
			case kind == unix.IFA_LABEL:
				a.Label = Text(v)
			case kind == unix.IFA_CACHEINFO && len(v) >= 16:
				if left := order.Uint32(v[4:]); left != math.MaxUint32 {
					a.Valid = time.Duration(left) * time.Second
				}
				// Hundredths of a second since boot; the 32 bits wrap after 497 days, and so does this.
				set := order.Uint32(v[12:])
				a.Age = time.Duration(uint32(now.Nano()/1e7)-set) * 10 * time.Millisecond
			}
		})
		if a.Prefix.IsValid() {
			addrs = append(addrs, a)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return addrs, nil
}

// Routes lists the IPv4 routes of the main table.
func (c *Conn) Routes() ([]Route, error) {
	var routes []Route
	msg := make([]byte, unix.SizeofRtMsg)
	msg[0] = unix.AF_INET
	err := c.Request(unix.RTM_GETROUTE, unix.NLM_F_DUMP, msg, func(kind uint16, p []byte) {
		if kind != unix.RTM_NEWROUTE || len(p) < unix.SizeofRtMsg || p[0] != unix.AF_INET || p[7] != unix.RTN_UNICAST {
			return
		}
		r := Route{Protocol: p[5], Scope: p[6], OnLink: order.Uint32(p[8:])&unix.RTNH_F_ONLINK != 0}
		table, bits := uint32(p[4]), int(p[1])
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), bits)
		Attributes(p[unix.SizeofRtMsg:], func(kind uint16, v []byte) {
			ip, isIP := netip.AddrFromSlice(v)
			switch {
			case kind == unix.RTA_DST && isIP:
				r.Dst = netip.PrefixFrom(ip, bits)
			case kind == unix.RTA_GATEWAY && isIP:
				r.Gateway = ip
			case kind == unix.RTA_PREFSRC && isIP:
				r.Source = ip
			case kind == unix.RTA_OIF && len(v) >= 4:
				r.Index = int(order.Uint32(v))
			case kind == unix.RTA_PRIORITY && len(v) >= 4:
				r.Metric = order.Uint32(v)
			case kind == unix.RTA_TABLE && len(v) >= 4:
				table = order.Uint32(v)
			}
		})
		if table == unix.RT_TABLE_MAIN {
			routes = append(routes, r)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// Neighbours lists the IPv4 entries of the ARP table.
func (c *Conn) Neighbours() ([]Neighbour, error) {
	var list []Neighbour
	msg := make([]byte, unix.SizeofNdMsg)
	msg[0] = unix.AF_INET
	err := c.Request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, msg, func(kind uint16, p []byte) {
		if kind != unix.RTM_NEWNEIGH || len(p) < unix.SizeofNdMsg {
			return
		}
		n := Neighbour{Index: int(order.Uint32(p[4:])), State: order.Uint16(p[8:])}
		Attributes(p[unix.SizeofNdMsg:], func(kind uint16, v []byte) {
			if ip, ok := netip.AddrFromSlice(v); ok && kind == unix.NDA_DST {
				n.IP = ip
			}
		})
		if n.IP.IsValid() {
			list = append(list, n)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	return list, nil
}

// SetUp sets an interface administratively up or down.
func (c *Conn) SetUp(index int, up bool) error {
	msg := make([]byte, unix.SizeofIfInfomsg)
	order.PutUint32(msg[4:], uint32(index))
	if up {
		order.PutUint32(msg[8:], unix.IFF_UP)
	}
	order.PutUint32(msg[12:], unix.IFF_UP)
	if err := c.Request(unix.RTM_NEWLINK, 0, msg, nil); err != nil {
		return fmt.Errorf("set link: %w", err)
	}
	return nil
}

// ReplaceAddr sets an address, or its lifetime when it is there. Valid < 0 means for ever.
func (c *Conn) ReplaceAddr(a Addr) error {
	if err := c.Request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, addrMessage(a), nil); err != nil {
		return fmt.Errorf("set address %s: %w", a.Prefix, err)
	}
	return nil
}

// DeleteAddr removes an address.
func (c *Conn) DeleteAddr(a Addr) error {
	if err := c.Request(unix.RTM_DELADDR, 0, addrMessage(a), nil); err != nil {
		return fmt.Errorf("delete address %s: %w", a.Prefix, err)
	}
	return nil
}

func addrMessage(a Addr) []byte {
	msg := make([]byte, unix.SizeofIfAddrmsg)
	msg[0], msg[1] = unix.AF_INET, byte(a.Prefix.Bits())
	order.PutUint32(msg[4:], uint32(a.Index))
	ip := a.Prefix.Addr().As4()
	msg = AppendAttribute(msg, unix.IFA_LOCAL, ip[:])
	msg = AppendAttribute(msg, unix.IFA_ADDRESS, ip[:])
	if a.Broadcast.Is4() {
		b := a.Broadcast.As4()
		msg = AppendAttribute(msg, unix.IFA_BROADCAST, b[:])
	}
	if a.Label != "" {
		msg = AppendAttribute(msg, unix.IFA_LABEL, append([]byte(a.Label), 0))
	}
	left := uint32(math.MaxUint32)
	if a.Valid >= 0 {
		left = uint32(a.Valid / time.Second)
	}
	var cache [16]byte
	order.PutUint32(cache[0:], left)
	order.PutUint32(cache[4:], left)
	return AppendAttribute(msg, unix.IFA_CACHEINFO, cache[:])
}

// ReplaceRoute sets a route; one with the same destination and metric is replaced.
func (c *Conn) ReplaceRoute(r Route) error {
	if err := c.Request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, routeMessage(r), nil); err != nil {
		return fmt.Errorf("set route %s: %w", r.Dst, err)
	}
	return nil
}

// DeleteRoute removes a route.
func (c *Conn) DeleteRoute(r Route) error {
	if err := c.Request(unix.RTM_DELROUTE, 0, routeMessage(r), nil); err != nil {
		return fmt.Errorf("delete route %s: %w", r.Dst, err)
	}
	return nil
}

func routeMessage(r Route) []byte {
	msg := make([]byte, unix.SizeofRtMsg)
	msg[0], msg[1] = unix.AF_INET, byte(r.Dst.Bits())
	msg[4], msg[5], msg[6], msg[7] = unix.RT_TABLE_MAIN, r.Protocol, r.Scope, unix.RTN_UNICAST
	if r.OnLink {
		order.PutUint32(msg[8:], unix.RTNH_F_ONLINK)
	}
	if r.Dst.Bits() > 0 {
		dst := r.Dst.Addr().As4()
		msg = AppendAttribute(msg, unix.RTA_DST, dst[:])
	}
	if r.Gateway.Is4() {
		gw := r.Gateway.As4()
		msg = AppendAttribute(msg, unix.RTA_GATEWAY, gw[:])
	}
	if r.Source.Is4() {
		src := r.Source.As4()
		msg = AppendAttribute(msg, unix.RTA_PREFSRC, src[:])
	}
	msg = AppendAttribute(msg, unix.RTA_OIF, order.AppendUint32(nil, uint32(r.Index)))
	return AppendAttribute(msg, unix.RTA_PRIORITY, order.AppendUint32(nil, r.Metric))
}
