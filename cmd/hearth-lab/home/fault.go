package home

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"
)

// Fault is something that goes wrong in a home. Value is per cent for losses, kbit/s for bandwidth and
// milliseconds for dns-slow; other kinds take none. A zero Value means the kind's usual one.
type Fault struct {
	Kind  string  `json:"kind"`
	Value float64 `json:"value,omitempty"`
}

// FaultKind describes a kind of fault: what it does for real and which values it takes.
type FaultKind struct {
	Name         string
	About        string
	Min, Max     float64 // both 0 for a kind without a value
	Usual        float64
	Unit         string
	Segment      string // whose fault it is: home network, isp, cloud
	affectsRules bool   // carried out by packet filter rules
}

// Kinds are all faults.
var Kinds = []FaultKind{
	{Name: "loss", About: "packets lost between router and provider, both ways (nftables numgen)", Min: 1, Max: 100, Usual: 20, Unit: "%", Segment: "isp", affectsRules: true},
	{Name: "lan-loss", About: "packets lost between hub and router, both ways (nftables numgen)", Min: 1, Max: 100, Usual: 20, Unit: "%", Segment: "home network", affectsRules: true},
	{Name: "bandwidth", About: "the provider's line carries only so much, with a deep queue (tbf)", Min: 16, Max: 1e6, Usual: 256, Unit: "kbit/s", Segment: "isp"},
	{Name: "dns-slow", About: "the router's resolver is stopped for up to this long at a time", Min: 20, Max: 10000, Usual: 800, Unit: "ms", Segment: "home network"},
	{Name: "dns-dead", About: "the router's resolver is stopped", Segment: "home network"},
	{Name: "dhcp-gone", About: "the router's DHCP server is ended", Segment: "home network"},
	{Name: "uplink-down", About: "the router's cable to the provider is cut", Segment: "isp"},
	{Name: "lan-down", About: "the hub's cable to the router is cut", Segment: "home network"},
	{Name: "isp-down", About: "the provider forwards nothing", Segment: "isp", affectsRules: true},
	{Name: "cloud-down", About: "the cloud's address is unreachable", Segment: "cloud", affectsRules: true},
}

func kindOf(name string) (FaultKind, bool) {
	i := slices.IndexFunc(Kinds, func(k FaultKind) bool { return k.Name == name })
	if i < 0 {
		return FaultKind{}, false
	}
	return Kinds[i], true
}

func (f Fault) validate() error {
	k, ok := kindOf(f.Kind)
	if !ok {
		names := make([]string, len(Kinds))
		for i, k := range Kinds {
			names[i] = k.Name
		}
		return fmt.Errorf("fault %q is unknown: want one of %s", f.Kind, strings.Join(names, ", "))
	}
	switch {
	case f.Value == 0:
	case k.Max == 0:
		return fmt.Errorf("fault %s takes no value, got %g", f.Kind, f.Value)
	case !(f.Value >= k.Min && f.Value <= k.Max):
		return fmt.Errorf("fault %s: value %g is out of range: want %g to %g %s", f.Kind, f.Value, k.Min, k.Max, k.Unit)
	}
	return nil
}

// String is the form that the command line takes: kind, or kind=value.
func (f Fault) String() string {
	if f.Value == 0 {
		return f.Kind
	}
	return fmt.Sprintf("%s=%g", f.Kind, f.Value)
}

// fault switches a valid fault on or off.
func (k *keeper) fault(f Fault, on bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	kind, _ := kindOf(f.Kind)
	if f.Value == 0 {
		f.Value = kind.Usual
	}
	_, was := k.faults[f.Kind]
	if !on && !was {
		return nil
	}
	if on {
		k.faults[f.Kind] = f
	} else {
		delete(k.faults, f.Kind)
	}
	if kind.affectsRules {
		return k.filter()
	}
	router, isp := k.hosts["router"], k.hosts["isp"]
	upDown := map[bool]string{true: "down", false: "up"}[on]
	switch f.Kind {
	case "bandwidth":
		if !on {
			return first([]error{router.TC("qdisc del dev wan0 root\n"), isp.TC("qdisc del dev home0 root\n")})
		}
		limit := fmt.Sprintf("root tbf rate %gkbit burst 8kb latency 800ms\n", f.Value)
		return first([]error{router.TC("qdisc replace dev wan0 " + limit), isp.TC("qdisc replace dev home0 " + limit)})
	case "dns-slow", "dns-dead":
		k.paceResolver()
		return nil
	case "dhcp-gone":
		s := k.services["router-dhcp"]
		if on == was {
			return nil
		}
		if on {
			s.stop()
			return nil
		}
		return s.start()
	case "uplink-down":
		return isp.IP("link set home0 " + upDown + "\n")
	case "lan-down":
		return router.IP("link set lan0 " + upDown + "\n")
	}
	return fmt.Errorf("fault %s has no way to happen", f.Kind)
}

// paceResolver makes the router's resolver run as the faults say. A process that is stopped answers
// nothing and keeps its port, as one that is overloaded does: a query waits for what is left of the stop.
func (k *keeper) paceResolver() {
	if k.stopSlow != nil {
		k.stopSlow()
		k.stopSlow = nil
	}
	resolver := k.services["router-dns"].cmd.Process
	slow, isSlow := k.faults["dns-slow"]
	if _, dead := k.faults["dns-dead"]; dead {
		_ = resolver.Signal(syscall.SIGSTOP)
		return
	}
	_ = resolver.Signal(syscall.SIGCONT)
	if !isSlow {
		return
	}
	quit, done := make(chan struct{}), make(chan struct{})
	k.stopSlow = func() { close(quit); <-done }
	go func() {
		defer close(done)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for stopped := false; ; stopped = !stopped {
			select {
			case <-quit:
				_ = resolver.Signal(syscall.SIGCONT)
				return
			case <-timer.C:
			}
			if stopped {
				_ = resolver.Signal(syscall.SIGCONT)
				timer.Reset(10 * time.Millisecond)
			} else {
				_ = resolver.Signal(syscall.SIGSTOP)
				timer.Reset(time.Duration(slow.Value * float64(time.Millisecond)))
			}
		}
	}()
}

// guard installs the empty filters that faults are put into.
func (k *keeper) guard() error { return k.filter() }

// filter replaces the packet filters by what the faults say, in one step per host.
func (k *keeper) filter() error {
	drop := func(match string, percent float64) string {
		if percent >= 100 {
			return "  " + match + " drop\n"
		}
		// In tenths of a per cent.
		return fmt.Sprintf("  %s numgen random mod 1000 < %d drop\n", match, int(percent*10+0.5))
	}
	var isp, in, out, wan string
	if f, on := k.faults["loss"]; on {
		isp += drop("", f.Value)
	}
	if _, on := k.faults["isp-down"]; on {
		isp += drop("", 100)
	}
	if f, on := k.faults["lan-loss"]; on {
		in, out = drop("iifname lan0", f.Value), drop("oifname lan0", f.Value)
	}
	if _, on := k.faults["cloud-down"]; on {
		wan = drop("ip daddr "+CloudAddr, 100)
	}
	table := func(chains ...string) string {
		s := "table ip fault {}\ndelete table ip fault\ntable ip fault {\n"
		for i := 0; i < len(chains); i += 2 {
			s += fmt.Sprintf(" chain %s {\n  type filter hook %s;\n%s }\n", strings.Fields(chains[i])[0], chains[i], chains[i+1])
		}
		return s + "}\n"
	}
	return first([]error{
		k.hosts["isp"].NFT(table("forward priority 0", isp)),
		k.hosts["router"].NFT(table("prerouting priority -300", in, "postrouting priority 300", out)),
		k.hosts["wan"].NFT(table("prerouting priority -300", wan)),
	})
}

// active lists the faults that are on, by kind.
func (k *keeper) active() []Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]Fault, 0, len(k.faults))
	for _, f := range k.faults {
		list = append(list, f)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Kind < list[j].Kind })
	return list
}
