package home

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// host is one machine of the home: an operating-system thread that left the others' network, mount
// and UTS namespaces. What is to happen in the host runs on that thread; what the thread starts lives
// in the host. The namespaces end with the thread and with the last process in them.
type host struct {
	name  string
	work  chan func()
	netns *os.File
}

// newHost makes a host. hosts is a folder on a tmpfs for the writable layer of its /etc.
func newHost(name, hosts string, shield bool) (*host, error) {
	h := &host{name: name, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must die with its namespaces
		if err := h.enter(hosts, shield); err != nil {
			ready <- fmt.Errorf("host %s: %w", name, err)
			return
		}
		ready <- nil
		for f := range h.work {
			f()
		}
	}()
	return h, <-ready
}

func (h *host) enter(hosts string, shield bool) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare: %w: %w", ErrRefused, err)
	}
	dir := filepath.Join(hosts, h.name)
	upper, scratch := filepath.Join(dir, "etc"), filepath.Join(dir, "work")
	for _, d := range []string{upper, scratch} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	layer := "lowerdir=/etc,upperdir=" + upper + ",workdir=" + scratch
	type mount struct{ source, target, kind, data string }
	mounts := []mount{
		{"overlay", "/etc", "overlay", "userxattr," + layer},
		{"sysfs", "/sys", "sysfs", ""},
		{"proc", "/proc", "proc", ""},
	}
	if shield { // resolver daemons of the machine listen below /run
		mounts = append(mounts, mount{"tmpfs", "/run", "tmpfs", "mode=755"})
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w: %w", m.target, ErrRefused, err)
		}
	}
	if err := unix.Sethostname([]byte(h.name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := h.setResolver(""); err != nil {
		return err
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	h.netns = ns
	return nil
}

// setResolver replaces resolv.conf on the calling thread's /etc, which may hold a link from below.
func (h *host) setResolver(text string) error {
	const path = "/etc/resolv.conf"
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// do runs f inside the host and returns its error.
func (h *host) do(f func() error) error {
	result := make(chan error, 1)
	h.work <- func() { result <- f() }
	return <-result
}

// feed runs a program inside the host with text on its standard input, and wants it to succeed.
// peers are open namespaces, which the text names as /proc/self/fd/3, 4, ...
func (h *host) feed(text string, peers []*os.File, name string, args ...string) error {
	path, err := program(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return h.do(func() error {
		cmd := exec.Command(path, args...)
		cmd.Stdin = strings.NewReader(text)
		cmd.ExtraFiles = peers
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("host %s: %s: %w: %s", h.name, name, err, bytes.TrimSpace(out.Bytes()))
		}
		return nil
	})
}

func (h *host) ip(batch string, peers ...*os.File) error {
	return h.feed(batch, peers, "ip", "-batch", "-")
}
func (h *host) tc(batch string) error   { return h.feed(batch, nil, "tc", "-force", "-batch", "-") }
func (h *host) nft(script string) error { return h.feed(script, nil, "nft", "-f", "-") }

// set writes a kernel setting below /proc/sys.
func (h *host) set(key, value string) error {
	return h.do(func() error {
		path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		return nil
	})
}

// start starts a process inside the host.
func (h *host) start(cmd *exec.Cmd) error { return h.do(cmd.Start) }
