// Package home builds a smart home out of network namespaces, with real DHCP, DNS, NAT and real faults.
//
//	hub ──eth0──── router ──wan0──── isp ──────── wan       203.0.113.53  the provider's resolver
//	 │             192.168.50.1      100.64.7.1    │        203.0.113.9   another resolver
//	 │             dnsmasq: DHCP,                  │        203.0.113.7   a host that answers pings
//	 │             DNS; NAT                        │        203.0.113.80  a web server
//	 └─────lte0─── lte ────────────────────────────┘        203.0.113.10  the cloud
//	               192.168.8.1, the second uplink
//
// The addresses are from the ranges kept for documentation and for carriers; they exist only inside
// the namespaces. What is sent to 203.0.113.10 leaves the home towards the process that plays the
// cloud: through a veth pair and NAT when run as root, through a relay when run as a user.
//
// Every host has a mount namespace of its own: /etc is a writable layer over the machine's, /run,
// /proc and /sys are fresh. The machine's resolv.conf, routes and services are never touched; as root,
// one interface with a /30 of 10.213.0.0/16 appears on it while the home is up.
//
// One keeper process holds all of it. It is the first process of a PID namespace, and everything in
// the home descends from it, so when it ends, in whatever way, the kernel ends the processes,
// the namespaces and the interfaces. It ends when the process that called Up does, by kill -9 too.
package home

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// Addresses inside a home.
const (
	CloudName      = "cloud.hearthline.test" // resolves to CloudAddr in the home
	CloudAddr      = "203.0.113.10"
	ProbeAddr      = "203.0.113.7"    // answers pings
	WebName        = "www.home.test"  // resolves to WebAddr in the home
	WebAddr        = "203.0.113.80"   // HTTP on port 80: /, /generate_204, /bytes?n=N, and POST /sink
	ResolverAddr   = "203.0.113.53"   // the provider's resolver, which the router forwards to
	AltResolver    = "203.0.113.9"    // another resolver, which the hub may switch to
	GatewayAddr    = "192.168.50.1"   // the router as the hub sees it
	LTEGatewayAddr = "192.168.8.1"    // the second uplink as the hub sees it
	HubInterface   = "eth0"           // leased by DHCP from the router
	LTEInterface   = "lte0"           // leased by DHCP from the second uplink
	leaseSeconds   = 120              // the least that dnsmasq gives
	lanPool        = "192.168.50.100" // first address of the router's pool
	ltePool        = "192.168.8.100"
)

// Hosts are the names that Start and the exec command take.
var Hosts = []string{"hub", "router", "lte", "isp", "wan"}

// ErrRefused is returned by Up when the kernel or its configuration lets neither root nor a user
// namespace build the home. The wrapped text names the step.
var ErrRefused = netns.ErrRefused

// ErrRunning is returned by Up when a home is up in the same folder.
var ErrRunning = errors.New("a home is already up in this folder")

// ErrDown is returned by Open when no home is up in the folder.
var ErrDown = errors.New("no home is up in this folder")

// MissingError names programs that a home needs and the Debian packages that carry them.
type MissingError struct {
	Programs []string
	Packages []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("missing programs %v: install the Debian packages %v", e.Programs, e.Packages)
}

// Options configures a home. Dir is required.
type Options struct {
	Dir        string   // holds the control socket and logs; created with mode 0700
	CloudPorts []int    // TCP ports of the cloud that the home may reach; none means 1883, 8883, 8080, 8443, 3478
	UserNS     bool     // use a user namespace also when root; without root one is always used
	NoLease    bool     // leave the hub without a DHCP lease: what runs in it asks for its own
	Keeper     []string // command that runs Keeper; empty means this program with "home keeper"
}

// Home is a home that is up. Its methods may be called from any goroutine.
type Home struct {
	dir   string
	info  Info
	owned *exec.Cmd // the keeper, when this process started it
	life  io.Closer
	once  sync.Once
	done  chan struct{}
}

// Info says where things are, seen from the machine.
type Info struct {
	Dir         string `json:"dir"`
	KeeperPID   int    `json:"keeper_pid"`
	CloudListen string `json:"cloud_listen"`   // host the cloud must listen on for the hub to reach it as CloudName
	UserNS      bool   `json:"user_namespace"` // the cloud is reached by a relay, not by a cable
	CloudPorts  []int  `json:"cloud_ports"`
}

// Up builds a home and returns when the hub has its leases and names resolve. The home lives until
// Close, until ctx is done, or until this process ends.
func Up(ctx context.Context, opts Options) (*Home, error) {
	if opts.Dir == "" {
		return nil, errors.New("home: Dir is required")
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	opts.Dir = dir
	if len(socketPath(dir)) > 100 || strings.ContainsAny(dir, ",:\\") {
		return nil, fmt.Errorf("home: folder %s: its name is too long for a socket, or has one of , : \\ in it", dir)
	}
	if err := findPrograms(netns.Program); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "hosts"), 0o700); err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if len(opts.CloudPorts) == 0 {
		opts.CloudPorts = []int{1883, 8883, 8080, 8443, 3478}
	}
	if os.Geteuid() != 0 {
		opts.UserNS = true
	}
	keeper := opts.Keeper
	if len(keeper) == 0 {
		keeper = []string{"/proc/self/exe", "home", "keeper"}
	}
	h := &Home{dir: dir, done: make(chan struct{})}
	if err := h.start(ctx, keeper, opts); err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-ctx.Done():
			h.life.Close()
		case <-h.done:
		}
	}()
	return h, nil
}

// start runs the keeper in new namespaces and waits for its word that the home is ready.
func (h *Home) start(ctx context.Context, argv []string, opts Options) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setsid: true}
	if opts.UserNS {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	stdin, err := cmd.StdinPipe() // the keeper ends when this closes: with Close, or with us
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EACCES) {
			return fmt.Errorf("home: start keeper: %w: %w", ErrRefused, err)
		}
		return fmt.Errorf("home: start keeper: %w", err)
	}
	h.owned, h.life = cmd, stdin
	ready := make(chan error, 1)
	go func() {
		if err := json.NewEncoder(stdin).Encode(opts); err != nil {
			ready <- err
			return
		}
		var r readiness
		if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&r); err != nil {
			ready <- fmt.Errorf("keeper ended without a word: %w", err)
			return
		}
		h.info = r.Info
		ready <- r.err()
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		stdin.Close()
		_ = cmd.Wait()
		return fmt.Errorf("home: %w", err)
	}
	h.info.KeeperPID = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		close(h.done)
	}()
	return nil
}

// readiness is what the keeper says on its standard output, once.
type readiness struct {
	Info    Info
	Error   string
	Refused bool
	Running bool
}

func (r readiness) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Running:
		return ErrRunning
	case r.Refused:
		return fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	return errors.New(r.Error)
}

// Open connects to the home that is up in dir.
func Open(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	h := &Home{dir: dir, done: make(chan struct{})}
	var r reply
	if err := h.call(request{Op: "info"}, &r); err != nil {
		return nil, err
	}
	h.info = *r.Info
	return h, nil
}

// Info says where things are.
func (h *Home) Info() Info { return h.info }

// Done is closed when a home that this process brought up has ended.
func (h *Home) Done() <-chan struct{} { return h.done }

// Close takes the home down and waits until it is gone, at most five seconds when another process
// brought it up.
func (h *Home) Close() error {
	if h.owned != nil {
		h.once.Do(func() { h.life.Close() })
		<-h.done
		return nil
	}
	var r reply
	if err := h.call(request{Op: "down"}, &r); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socketPath(h.dir)); err != nil {
			return nil
		} else {
			c.Close()
		}
	}
	return errors.New("home: keeper did not end within 5s")
}

// Fault switches a fault on or off. An unknown kind or a value out of range is an error that names
// what is allowed. Switching on a fault that is on changes its value.
func (h *Home) Fault(f Fault, on bool) error {
	if err := f.validate(); err != nil {
		return err
	}
	var r reply
	return h.call(request{Op: "fault", Fault: f, On: on}, &r)
}

// Faults lists the faults that are on.
func (h *Home) Faults() ([]Fault, error) {
	var r reply
	err := h.call(request{Op: "faults"}, &r)
	return r.Faults, err
}

func socketPath(dir string) string { return filepath.Join(dir, "home.sock") }

var programs = map[string]string{"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base"}

func findPrograms(find func(string) (string, error)) error {
	var missing MissingError
	for _, name := range []string{"ip", "tc", "nft", "dnsmasq"} {
		if _, err := find(name); err == nil {
			continue
		}
		missing.Programs = append(missing.Programs, name)
		if n := len(missing.Packages); n == 0 || missing.Packages[n-1] != programs[name] {
			missing.Packages = append(missing.Packages, programs[name])
		}
	}
	if missing.Programs != nil {
		return &missing
	}
	return nil
}
