package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
)

// networkState is what network.restore puts back: the addresses and routes of some interfaces. The
// keys are short because it must fit into one argument of an action.
type networkState struct {
	Interfaces []interfaceState `json:"i"`
}

type interfaceState struct {
	Name   string         `json:"n"`
	Up     bool           `json:"u"`
	Addrs  []addrState    `json:"a,omitempty"`
	Routes []routeState   `json:"r,omitempty"`
	prefix []netip.Prefix // of Addrs
}

type addrState struct {
	Prefix  netip.Prefix `json:"p"`
	Bcast   netip.Addr   `json:"b,omitzero"`
	Label   string       `json:"l,omitempty"`
	Expires int64        `json:"x,omitempty"` // seconds since 1970, when the lease ends; 0 for ever
}

type routeState struct {
	Dst      netip.Prefix `json:"d"`
	Gateway  netip.Addr   `json:"g,omitzero"`
	Source   netip.Addr   `json:"s,omitzero"`
	Metric   uint32       `json:"m,omitempty"`
	Protocol uint8        `json:"p"`
	Scope    uint8        `json:"c,omitempty"`
	OnLink   bool         `json:"o,omitempty"`
}

func snapshot(v *view, interfaces []string, now time.Time) (string, error) {
	var s networkState
	for _, name := range interfaces {
		l, ok := v.link(name)
		if !ok {
			continue
		}
		i := interfaceState{Name: name, Up: l.Up}
		for _, a := range v.addrs {
			if a.Index != l.Index {
				continue
			}
			st := addrState{Prefix: a.Prefix, Bcast: a.Broadcast, Label: a.Label}
			if a.Valid >= 0 {
				st.Expires = now.Add(a.Valid).Unix()
			}
			i.Addrs = append(i.Addrs, st)
		}
		for _, r := range v.routes {
			if r.Index == l.Index && r.Protocol != protocolKernel {
				i.Routes = append(i.Routes, routeState{r.Dst, r.Gateway, r.Source, r.Metric, r.Protocol, r.Scope, r.OnLink})
			}
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	if len(b) > protocol.MaxText {
		return "", fmt.Errorf("the state of %v is %d bytes, at most %d can be restored", interfaces, len(b), protocol.MaxText)
	}
	return string(b), nil
}

func parseState(text string) (networkState, error) {
	var s networkState
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, err
	}
	if len(s.Interfaces) == 0 {
		return s, errors.New("no interface is named")
	}
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		if i.Name == "" || len(i.Name) > 15 {
			return s, fmt.Errorf("%q is no interface name", i.Name)
		}
		for _, a := range i.Addrs {
			if !a.Prefix.IsValid() || !a.Prefix.Addr().Is4() {
				return s, fmt.Errorf("interface %s: malformed address", i.Name)
			}
			i.prefix = append(i.prefix, a.Prefix)
		}
		for _, r := range i.Routes {
			if !r.Dst.IsValid() || !r.Dst.Addr().Is4() {
				return s, fmt.Errorf("interface %s: malformed route", i.Name)
			}
		}
	}
	return s, nil
}

// restore sets what is in the state and removes what is not. Leases that ended meanwhile stay away:
// the address may belong to another device by now.
func (d *Driver) restore(s networkState) error {
	v, err := readView(d.nl)
	if err != nil {
		return err
	}
	var all error
	for _, i := range s.Interfaces { // one that fails must not keep the others from coming back
		l, ok := v.link(i.Name)
		if !ok {
			all = errors.Join(all, fmt.Errorf("interface %s is gone", i.Name))
			continue
		}
		all = errors.Join(all, d.restoreAddrs(&v, l, i))
	}
	// Routes come after all addresses, and new ones before old ones go, so that a way out stays.
	for _, i := range s.Interfaces {
		if l, ok := v.link(i.Name); ok && i.Up {
			all = errors.Join(all, d.restoreRoutes(l, i))
		}
	}
	return all
}

func (d *Driver) restoreAddrs(v *view, l rtnl.Link, i interfaceState) error {
	if l.Up != i.Up {
		if err := d.nl.SetUp(l.Index, i.Up); err != nil {
			return err
		}
	}
	for _, a := range i.Addrs {
		set := rtnl.Addr{Index: l.Index, Prefix: a.Prefix, Broadcast: a.Bcast, Label: a.Label, Valid: -1}
		if a.Expires != 0 {
			set.Valid = time.Unix(a.Expires, 0).Sub(d.opts.Now()).Round(time.Second)
			if set.Valid <= 0 {
				continue
			}
			if slices.ContainsFunc(v.addrs, func(now rtnl.Addr) bool {
				return now.Index == l.Index && now.Prefix == a.Prefix && (now.Valid-set.Valid).Abs() <= 2*time.Second
			}) {
				continue // as it was; setting it again would make the lease look younger
			}
		}
		if err := d.nl.ReplaceAddr(set); err != nil {
			return err
		}
	}
	for _, a := range v.addrs {
		if a.Index == l.Index && !slices.Contains(i.prefix, a.Prefix) {
			if err := d.nl.DeleteAddr(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Driver) restoreRoutes(l rtnl.Link, i interfaceState) error {
	for _, r := range i.Routes {
		set := rtnl.Route{Dst: r.Dst, Gateway: r.Gateway, Source: r.Source, Index: l.Index, Metric: r.Metric, Protocol: r.Protocol, Scope: r.Scope, OnLink: r.OnLink}
		if err := d.nl.ReplaceRoute(set); err != nil {
			return err
		}
	}
	now, err := d.nl.Routes()
	if err != nil {
		return err
	}
	for _, r := range now {
		if r.Index != l.Index || r.Protocol == protocolKernel {
			continue
		}
		if !slices.ContainsFunc(i.Routes, func(s routeState) bool { return s.Dst == r.Dst && s.Metric == r.Metric }) {
			if err := d.nl.DeleteRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}
