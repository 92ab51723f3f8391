package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
	"golang.org/x/sys/unix"
)

// The actions of this driver. The last three are what Undo returns: they carry the former state with
// them, so that they hold across a restart.
const (
	DNSSwitch       = "dns.switch"       // Args resolver: one resolver in the place of the configured ones
	DHCPRenew       = "dhcp.renew"       // Target: interface
	InterfaceBounce = "interface.bounce" // Target: interface
	UplinkFailover  = "uplink.failover"  // Target: the interface whose default route shall be preferred
	ServiceRestart  = "service.restart"  // Target: one of Options.Services

	DNSRestore     = "dns.restore"     // Args text: the resolver file
	NetworkRestore = "network.restore" // Args state: addresses and routes of some interfaces
	ServiceRestore = "service.restore" // Target, Args running: true or false
)

var actionKinds = []string{DNSSwitch, DHCPRenew, InterfaceBounce, UplinkFailover, ServiceRestart, DNSRestore, NetworkRestore, ServiceRestore}

// Undo says how the state of now can be restored, exactly. It changes nothing.
func (d *Driver) Undo(ctx context.Context, a protocol.Action) (protocol.Action, error) {
	plan, err := d.plan(a)
	if err != nil {
		return protocol.Action{}, err
	}
	switch a.Kind {
	case DNSSwitch, DNSRestore:
		text, err := os.ReadFile(d.resolver.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return protocol.Action{}, fmt.Errorf("linux: undo %s: %w", a.Kind, err)
		}
		if len(text) > protocol.MaxText {
			return protocol.Action{}, fmt.Errorf("%w: %s has %d bytes, at most %d can be restored", bridge.ErrUnsupported, d.resolver.path, len(text), protocol.MaxText)
		}
		return protocol.Action{Kind: DNSRestore, Args: map[string]string{"text": string(text)}}, nil
	case ServiceRestart, ServiceRestore:
		running := run(ctx, d.opts.Services[a.Target].Status) == nil
		return protocol.Action{Kind: ServiceRestore, Target: a.Target, Args: map[string]string{"running": strconv.FormatBool(running)}}, nil
	}
	state, err := snapshot(&plan.view, plan.touches, d.opts.Now())
	if err != nil {
		return protocol.Action{}, fmt.Errorf("linux: undo %s: %w", a.Kind, err)
	}
	return protocol.Action{Kind: NetworkRestore, Args: map[string]string{"state": state}}, nil
}

// Apply carries out an action. It returns bridge.ErrUnsupported or bridge.ErrArgument before anything
// was changed; any other error may leave a part of the change behind, which Undo's action takes back.
func (d *Driver) Apply(ctx context.Context, a protocol.Action) error {
	d.apply.Lock()
	defer d.apply.Unlock()
	plan, err := d.plan(a)
	if err != nil {
		return err
	}
	if err := plan.do(ctx); err != nil {
		return fmt.Errorf("linux: %s: %w", a.Kind, err)
	}
	return nil
}

// plan is a checked action: what it will touch, and how.
type plan struct {
	view    view
	touches []string // interfaces
	do      func(ctx context.Context) error
}

// plan checks an action without changing anything.
func (d *Driver) plan(a protocol.Action) (plan, error) {
	var p plan
	var err error
	if p.view, err = readView(d.nl); err != nil {
		return p, fmt.Errorf("linux: %s: %w", a.Kind, err)
	}
	known := map[string]string{DNSSwitch: "resolver", DNSRestore: "text", NetworkRestore: "state", ServiceRestore: "running"}[a.Kind]
	for name := range a.Args {
		if name != known {
			return p, argument("args."+name, "unknown; want %s", orNone(known))
		}
	}
	switch a.Kind {
	case DNSSwitch:
		to, err := d.allowedResolver(a.Args["resolver"])
		if err != nil {
			return p, err
		}
		p.do = func(context.Context) error { return d.switchResolver(to) }
	case DNSRestore:
		text := a.Args["text"]
		p.do = func(context.Context) error { return replaceFile(d.resolver.path, []byte(text)) }
	case DHCPRenew, InterfaceBounce, UplinkFailover:
		l, err := p.target(a.Target)
		if err != nil {
			return p, err
		}
		p.touches = []string{l.Name}
		switch a.Kind {
		case DHCPRenew:
			if _, leased := p.view.lease(l.Index); !leased && len(p.addresses(l.Index)) > 0 {
				return p, fmt.Errorf("%w: %s has a fixed address, not one from DHCP", bridge.ErrUnsupported, l.Name)
			}
			p.do = func(ctx context.Context) error { return d.renew(ctx, &p.view, l) }
		case InterfaceBounce:
			p.do = func(ctx context.Context) error { return d.bounce(ctx, &p.view, l) }
		case UplinkFailover:
			routes, err := p.failover(l)
			if err != nil {
				return p, err
			}
			for _, r := range p.view.routes {
				if name := p.view.name(r.Index); r.Dst.Bits() == 0 && !slices.Contains(p.touches, name) {
					p.touches = append(p.touches, name)
				}
			}
			p.do = func(context.Context) error { return d.setDefaults(&p.view, routes) }
		}
	case NetworkRestore:
		s, err := parseState(a.Args["state"])
		if err != nil {
			return p, argument("args.state", "%v", err)
		}
		for _, i := range s.Interfaces {
			p.touches = append(p.touches, i.Name)
		}
		p.do = func(context.Context) error { return d.restore(s) }
	case ServiceRestart, ServiceRestore:
		s, ok := d.opts.Services[a.Target]
		if !ok {
			return p, argument("target", "%q is no service of this device; want %s", a.Target, orNone(strings.Join(d.serviceNames(), ", ")))
		}
		if a.Kind == ServiceRestart {
			p.do = func(ctx context.Context) error { return run(ctx, s.Restart) }
			break
		}
		running, err := strconv.ParseBool(a.Args["running"])
		if err != nil {
			return p, argument("args.running", "%q; want true or false", a.Args["running"])
		}
		p.do = func(ctx context.Context) error { return s.bring(ctx, running) }
	default:
		return p, fmt.Errorf("%w: action %q; want %s", bridge.ErrUnsupported, a.Kind, strings.Join(actionKinds, ", "))
	}
	return p, nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (d *Driver) serviceNames() (names []string) {
	for n := range d.opts.Services {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// target is the interface that an action names.
func (p *plan) target(name string) (rtnl.Link, error) {
	var names []string
	for _, l := range p.view.interfaces() {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return rtnl.Link{}, argument("target", "%q is no interface of this device; want %s", name, orNone(strings.Join(names, ", ")))
}

func (p *plan) addresses(index int) (list []rtnl.Addr) {
	for _, a := range p.view.addrs {
		if a.Index == index {
			list = append(list, a)
		}
	}
	return list
}

// allowedResolver is a configured resolver or one of the alternatives: no stranger may answer for a home.
func (d *Driver) allowedResolver(s string) (netip.Addr, error) {
	file := resolverFile{path: d.resolver.path}
	allowed := append(slices.Clone(d.opts.Alternatives), file.active()...)
	to, err := netip.ParseAddr(s)
	if err == nil && slices.Contains(allowed, to) {
		return to, nil
	}
	var names []string
	for _, a := range allowed {
		if !slices.Contains(names, a.String()) {
			names = append(names, a.String())
		}
	}
	return to, argument("args.resolver", "%q is not allowed; want %s", s, orNone(strings.Join(names, ", ")))
}

func (d *Driver) switchResolver(to netip.Addr) error {
	text, err := os.ReadFile(d.resolver.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return replaceFile(d.resolver.path, switchTo(text, to))
}

// renew asks the DHCP server for the lease again and applies what it grants.
func (d *Driver) renew(ctx context.Context, v *view, l rtnl.Link) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var current netip.Addr
	if a, ok := v.lease(l.Index); ok {
		current = a.Prefix.Addr()
	}
	lease, err := RequestLease(ctx, l.Name, current)
	if err != nil {
		return err
	}
	metric := uint32(100)
	for _, r := range v.routes {
		if r.Index == l.Index && r.Dst.Bits() == 0 {
			metric = r.Metric
		}
	}
	return ApplyLease(d.nl, l.Name, lease, metric)
}

// bounce takes an interface down and up again and puts back the routes that the kernel dropped.
func (d *Driver) bounce(ctx context.Context, v *view, l rtnl.Link) error {
	if err := d.nl.SetUp(l.Index, false); err != nil {
		return err
	}
	select { // long enough for the other end to see it
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
	}
	if err := d.nl.SetUp(l.Index, true); err != nil {
		return err
	}
	return d.putRoutes(v, l.Index)
}

// putRoutes sets the routes of an interface that the kernel does not set by itself.
func (d *Driver) putRoutes(v *view, index int) error {
	for _, r := range v.routes {
		if r.Index == index && r.Protocol != protocolKernel {
			if err := d.nl.ReplaceRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}

const protocolKernel = 2 // RTPROT_KERNEL

// failover returns the default routes with the one of l made the preferred.
func (p *plan) failover(l rtnl.Link) ([]rtnl.Route, error) {
	var defaults []rtnl.Route
	has := false
	for _, r := range p.view.routes {
		if r.Dst.Bits() == 0 {
			defaults = append(defaults, r)
			has = has || r.Index == l.Index
		}
	}
	if !has {
		return nil, fmt.Errorf("%w: %s has no default route to fail over to", bridge.ErrUnsupported, l.Name)
	}
	slices.SortStableFunc(defaults, func(a, b rtnl.Route) int {
		return int(truth(b.Index == l.Index)-truth(a.Index == l.Index))*2 + int(min(max(int64(a.Metric)-int64(b.Metric), -1), 1))
	})
	for i := range defaults {
		defaults[i].Metric = uint32(50 + 50*i)
	}
	return defaults, nil
}

// setDefaults replaces the default routes. The new ones are set before old ones are removed, so that
// there is a way out at every moment.
func (d *Driver) setDefaults(v *view, routes []rtnl.Route) error {
	for _, r := range routes {
		if err := d.nl.ReplaceRoute(r); err != nil {
			return err
		}
	}
	for _, old := range v.routes {
		if old.Dst.Bits() == 0 && !slices.ContainsFunc(routes, func(r rtnl.Route) bool { return r.Metric == old.Metric }) {
			if err := d.nl.DeleteRoute(old); err != nil {
				return err
			}
		}
	}
	return nil
}

// bring starts or stops a service unless it is as wanted.
func (s Service) bring(ctx context.Context, running bool) error {
	if (run(ctx, s.Status) == nil) == running {
		return nil
	}
	if running {
		return run(ctx, s.Start)
	}
	return run(ctx, s.Stop)
}

// run runs a configured program. It gets no input and a plain environment.
func run(ctx context.Context, argv []string) error {
	if len(argv) == 0 {
		return bridge.ErrUnsupported
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // a daemon may keep our pipe
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %.200s", argv[0], err, &out)
	}
	return nil
}

// start starts a program with the timer slack that Linux gives to all. A program inherits that of the thread that
// starts it, and a frugal agent's may have more.
func start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 50_000, 0, 0, 0) // ns
	return cmd.Start()
}
