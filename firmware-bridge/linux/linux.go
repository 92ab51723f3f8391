// Package linux lets the agent see and change the hub it runs on: interfaces, routes, resolvers, DHCP
// and Wi-Fi as the kernel knows them. It needs no other program; services are the exception, which
// are restarted by the commands they are configured with.
//
// A sample costs about a millisecond of CPU, so that the agent stays below half a CPU second an hour
// at one sample every ten seconds. Files are read with reused buffers; netlink, DHCP and the probes
// are spoken by hand, because the agent's binary is small: miekg/dns would add 3.2 MB to it, pro-bing
// 1.9, mdlayher/wifi 0.7, a netlink library 0.4 to 0.6, regexp 0.24, a DHCP library 0.12 (amd64,
// stripped). dnsmessage, which is used, adds 12 kB.
package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
	"golang.org/x/sys/unix"
)

// Options configures a Driver. The zero value watches what needs no outside help: interfaces, the
// gateway and the configured resolvers.
type Options struct {
	Model    string // empty: the machine's own name for itself
	Firmware string // empty: the operating system's
	Hardware string

	Cloud        string               // host:port of the cloud; empty: no cloud.* metrics
	Probe        netip.Addr           // a host on the internet that answers pings; zero: no wan.* metrics
	ProbeName    string               // the name that resolvers are asked for; empty: the cloud's, else "example.com."
	Alternatives []netip.Addr         // resolvers that dns.switch may choose, besides the configured ones
	WebURL       string               // what the http diagnosis fetches by default; empty: none
	SpeedURL     string               // what the speed diagnosis downloads; empty: not supported
	Services     map[string]Service   // what service.restart may restart
	DiskPath     string               // whose free space disk.free_bytes is; empty: "/"
	Wait         time.Duration        // a sample waits this long for its probes; 0 means 250ms
	Now          func() time.Time     // nil: time.Now
	Start        func() time.Duration // monotonic time since the agent's start; nil: since New
}

// Service is how a service is controlled: programs with their arguments, which no shell sees.
type Service struct {
	Start, Stop, Restart []string
	Status               []string // exits with 0 while the service runs
}

// Systemd is the Service of a systemd unit.
func Systemd(unit string) Service {
	do := func(verb string) []string { return []string{"systemctl", verb, "--", unit} }
	return Service{Start: do("start"), Stop: do("stop"), Restart: do("restart"), Status: []string{"systemctl", "is-active", "--quiet", "--", unit}}
}

// Initd is the Service of a script in /etc/init.d, as on OpenWrt.
func Initd(name string) Service {
	do := func(verb string) []string { return []string{"/etc/init.d/" + name, verb} }
	return Service{Start: do("start"), Stop: do("stop"), Restart: do("restart"), Status: do("status")}
}

// Driver implements bridge.Driver.
type Driver struct {
	opts     Options
	nl       *rtnl.Conn
	resolver resolverFile

	apply sync.Mutex // one change at a time

	mu      sync.Mutex // guards the sampler
	sys     *system
	wifi    *wifi
	probes  probes
	view    view
	schema  *protocol.Schema
	sample  protocol.Sample   // what Sample returned last; nobody else may change it
	metrics []protocol.Metric // of the round, kept for its memory
	speeds  speeds
}

var _ bridge.Driver = (*Driver)(nil)

// New opens what the driver reads from. It neither sends nor changes anything.
func New(opts Options) (*Driver, error) {
	if opts.Cloud != "" {
		if _, _, err := net.SplitHostPort(opts.Cloud); err != nil {
			return nil, fmt.Errorf("linux: Cloud: %w", err)
		}
	}
	if opts.Probe.IsValid() && !opts.Probe.Is4() {
		return nil, fmt.Errorf("linux: Probe: %s is no IPv4 address", opts.Probe)
	}
	for _, a := range opts.Alternatives {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return nil, fmt.Errorf("linux: Alternatives: %s is no resolver's address", a)
		}
	}
	if opts.ProbeName == "" {
		opts.ProbeName = "example.com."
		if host, _, err := net.SplitHostPort(opts.Cloud); err == nil && checkName(host) == nil {
			opts.ProbeName = host
		}
	}
	if err := checkName(opts.ProbeName); err != nil {
		return nil, fmt.Errorf("linux: ProbeName: %w", err)
	}
	if opts.DiskPath == "" {
		opts.DiskPath = "/"
	}
	if opts.Wait == 0 {
		opts.Wait = 250 * time.Millisecond
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Start == nil {
		start := time.Now()
		opts.Start = func() time.Duration { return time.Since(start) }
	}
	nl, err := rtnl.Open()
	if err != nil {
		return nil, fmt.Errorf("linux: %w", err)
	}
	sys, err := openSystem(opts.DiskPath)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("linux: %w", err)
	}
	d := &Driver{opts: opts, nl: nl, sys: sys, wifi: openWifi()}
	d.resolver.path = "/etc/resolv.conf"
	d.probes.name = opts.ProbeName
	return d, nil
}

// Close waits for probes that are on their way, at most their timeout of two seconds.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probes.close()
	return errors.Join(d.sys.close(), d.wifi.close(), d.nl.Close())
}

// Describe says what the hub is, from the device tree, DMI and os-release.
func (d *Driver) Describe(context.Context) (bridge.Description, error) {
	desc := bridge.Description{Model: d.opts.Model, Firmware: d.opts.Firmware, Hardware: d.opts.Hardware, Bridge: "linux"}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return desc, fmt.Errorf("linux: uname: %w", err)
	}
	desc.Kernel = unix.ByteSliceToString(uts.Release[:])
	if desc.Model == "" {
		desc.Model = firstText("/proc/device-tree/model", "/sys/class/dmi/id/product_name")
	}
	if desc.Model == "" {
		desc.Model = "linux-" + unix.ByteSliceToString(uts.Machine[:])
	}
	if desc.Hardware == "" {
		desc.Hardware = firstText("/sys/class/dmi/id/product_version", "/sys/class/dmi/id/board_version")
	}
	if desc.Firmware == "" {
		desc.Firmware = osRelease()
	}
	return desc, nil
}

func firstText(paths ...string) string {
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			if s := strings.TrimSpace(strings.TrimRight(string(b), "\x00")); s != "" {
				return s
			}
		}
	}
	return ""
}

func osRelease() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	var id, version string
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return strings.TrimSuffix(id+"-"+version, "-")
}

// checkName accepts a DNS name or IPv4 address: labels of letters, digits, hyphens and underscores, none
// beginning or ending with a hyphen, so nothing that a program could take for an option or a path.
func checkName(s string) error {
	ok := len(s) > 0 && len(s) <= 253
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		ok = ok && len(label) > 0 && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for i := range len(label) {
			c := label[i]
			ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
		}
	}
	if !ok {
		return fmt.Errorf("%q is neither a DNS name nor an IPv4 address", clip(s))
	}
	return nil
}

// argument is an error about a field of a request.
func argument(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", bridge.ErrArgument, field, fmt.Sprintf(format, args...))
}
