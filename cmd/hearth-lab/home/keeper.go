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

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// keeper is the process that holds a home.
type keeper struct {
	opts  Options
	info  Info
	hosts map[string]*netns.Host

	mu       sync.Mutex
	services map[string]*service
	faults   map[string]Fault
	stopSlow func() // ends the pacing of a slow resolver
	relays   []io.Closer

	machineLink string // the machine's end of the cable to it, when root
	down        chan struct{}
	downOnce    sync.Once
}

// Keeper is the main function of the keeper process; a program that calls Up runs it when its
// arguments are those of Options.Keeper. It returns when the home is down.
func Keeper(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "dhcp" {
		return keepLeases(ctx, args[1:])
	}
	in := bufio.NewReader(os.Stdin)
	var opts Options
	if err := json.NewDecoder(in).Decode(&opts); err != nil {
		return fmt.Errorf("keeper is started by home up only: %w", err)
	}
	k := &keeper{opts: opts, hosts: map[string]*netns.Host{}, services: map[string]*service{}, faults: map[string]Fault{}, down: make(chan struct{})}
	err := k.build()
	r := readiness{Info: k.info}
	if err != nil {
		r.Error, r.Refused, r.Running = err.Error(), errors.Is(err, ErrRefused), errors.Is(err, ErrRunning)
	}
	if encErr := json.NewEncoder(os.Stdout).Encode(r); encErr != nil || err != nil {
		return encErr // err is now Up's to tell
	}
	go func() { // the other end closes with the process that wants the home
		_, _ = io.Copy(io.Discard, in)
		k.end()
	}()
	<-k.down
	os.Remove(socketPath(opts.Dir))
	if k.machineLink != "" { // the kernel would do so too, but a moment after our end
		_ = k.machine("link del " + k.machineLink + "\n")
	}
	return nil // the kernel ends everything else in this PID namespace
}

func (k *keeper) end() { k.downOnce.Do(func() { close(k.down) }) }

// build takes the folder, makes the hosts and their network, and starts what serves in them.
func (k *keeper) build() error {
	// What we mount must not show up in the machine's mount namespace.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w: %w", ErrRefused, err)
	}
	dir := k.opts.Dir
	lock, err := os.OpenFile(filepath.Join(dir, "home.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrRunning // held by a living keeper; the kernel drops it with the process
	}
	os.Remove(socketPath(dir))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir), Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(socketPath(dir), 0o600); err != nil {
		return err
	}
	hosts := filepath.Join(dir, "hosts")
	if err := unix.Mount("tmpfs", hosts, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w: %w", hosts, ErrRefused, err)
	}
	shield := !strings.HasPrefix(dir, "/run/") && !strings.HasPrefix(dir, "/var/run/")
	for _, name := range Hosts {
		h, err := newHost(name, hosts, shield)
		if err != nil {
			return err
		}
		k.hosts[name] = h
	}
	k.info = Info{Dir: dir, UserNS: k.opts.UserNS, CloudPorts: k.opts.CloudPorts}
	for _, step := range []func() error{k.cable, k.connectCloud, k.guard, k.serve} {
		if err := step(); err != nil {
			return err
		}
	}
	go k.accept(ln) // before the hub comes up, so that a slow start can be looked into
	if k.opts.NoLease {
		return nil
	}
	return k.leaseHub()
}

// service is a program that serves in a host. It is not restarted when it ends by itself.
type service struct {
	host *netns.Host
	argv []string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

func (k *keeper) startService(name string, h *netns.Host, argv ...string) error {
	s := &service{host: h, argv: argv, log: filepath.Join(k.opts.Dir, name+".log")}
	k.services[name] = s
	return s.start()
}

func (s *service) start() error {
	path, err := exec.LookPath(s.argv[0])
	if err != nil {
		if path, err = netns.Program(s.argv[0]); err != nil {
			return fmt.Errorf("%s: %w", s.argv[0], err)
		}
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, s.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.host.Start(cmd); err != nil {
		return fmt.Errorf("start %s in %s: %w", s.argv[0], s.host.Name(), err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.done)
	return nil
}

func (s *service) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	<-s.done
}

// leaseHub starts the hub's DHCP client and waits until both uplinks have their leases.
func (k *keeper) leaseHub() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{self, "home", "keeper", "dhcp"}
	if len(k.opts.Keeper) > 0 {
		argv = append(append([]string{}, k.opts.Keeper...), "dhcp")
	}
	hub := k.hosts["hub"]
	if err := k.startService("hub-dhcp", hub, append(argv, HubInterface, LTEInterface)...); err != nil {
		return err
	}
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		var leased bool
		err := hub.Do(func() error {
			_, err := os.Stat(leasedMark)
			leased = err == nil
			return nil
		})
		if err != nil || leased {
			return err
		}
		select {
		case <-tick.C:
		case <-k.services["hub-dhcp"].done:
			return fmt.Errorf("the hub's DHCP client ended: see %s", k.services["hub-dhcp"].log)
		case <-deadline.C:
			return fmt.Errorf("the hub got no DHCP lease within 15s: see the logs in %s", k.opts.Dir)
		}
	}
}
