package linux

import (
	"net/netip"
	"slices"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
)

// view is the network as the kernel has it at one moment.
type view struct {
	links  []rtnl.Link
	addrs  []rtnl.Addr
	routes []rtnl.Route
}

func readView(nl *rtnl.Conn) (v view, err error) {
	if v.links, err = nl.Links(); err != nil {
		return v, err
	}
	if v.addrs, err = nl.Addrs(); err != nil {
		return v, err
	}
	v.routes, err = nl.Routes()
	return v, err
}

const loopbackKind = 772 // ARPHRD_LOOPBACK

// interfaces are the links that carry traffic: all but the loopback.
func (v *view) interfaces() []rtnl.Link {
	return slices.DeleteFunc(slices.Clone(v.links), func(l rtnl.Link) bool { return l.Kind == loopbackKind })
}

func (v *view) link(name string) (rtnl.Link, bool) {
	for _, l := range v.links {
		if l.Name == name {
			return l, true
		}
	}
	return rtnl.Link{}, false
}

func (v *view) name(index int) string {
	for _, l := range v.links {
		if l.Index == index {
			return l.Name
		}
	}
	return ""
}

// defaultRoute is the one that the kernel uses: the one with the lowest metric.
func (v *view) defaultRoute() (best rtnl.Route, ok bool) {
	for _, r := range v.routes {
		if r.Dst.Bits() == 0 && (!ok || r.Metric < best.Metric) {
			best, ok = r, true
		}
	}
	return best, ok
}

// lease is the address of an interface that came with a lifetime, so from DHCP.
func (v *view) lease(index int) (rtnl.Addr, bool) {
	for _, a := range v.addrs {
		if a.Index == index && a.Valid >= 0 {
			return a, true
		}
	}
	return rtnl.Addr{}, false
}

func (v *view) address(index int) netip.Addr {
	for _, a := range v.addrs {
		if a.Index == index {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}
