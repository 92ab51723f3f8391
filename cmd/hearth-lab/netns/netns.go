// Package netns makes machines of a lab out of namespaces: each has a network of its own, and perhaps more.
//
// A Host is an operating-system thread that left the others' namespaces. What is to happen in the host runs
// on that thread; what the thread starts lives in the host. Nothing has a name on the machine around it:
// the namespaces end with the thread and with the last process in them.
package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrRefused is returned by New when the kernel or its configuration does not let us have namespaces.
var ErrRefused = errors.New("namespaces refused")

// Host is one machine. Its methods are safe for concurrent use until Close.
type Host struct {
	name string
	work chan func()
	ns   *os.File
}

// New makes a host whose thread has left the namespaces that flags name (unix.CLONE_NEWNET and others; 0
// leaves none: a host that is the machine around). enter runs inside before anything else; it may be nil.
func New(name string, flags int, enter func() error) (*Host, error) {
	h := &Host{name: name, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must die with its namespaces
		if err := h.leave(flags, enter); err != nil {
			ready <- fmt.Errorf("host %s: %w", name, err)
			return
		}
		ready <- nil
		for f := range h.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Host) leave(flags int, enter func() error) (err error) {
	if flags != 0 {
		if err := unix.Unshare(unix.CLONE_FS | flags); err != nil {
			return fmt.Errorf("unshare: %w: %w", ErrRefused, err)
		}
	}
	if enter != nil {
		if err := enter(); err != nil {
			return err
		}
	}
	h.ns, err = os.Open("/proc/thread-self/ns/net")
	return err
}

// Close ends the thread, and with the last process in it the host.
func (h *Host) Close() error {
	close(h.work)
	return h.ns.Close()
}

// Name is what the host was called.
func (h *Host) Name() string { return h.name }

// Namespace is the host's network, open as long as the host is, for the peer of a cable.
func (h *Host) Namespace() *os.File { return h.ns }

// Do runs f inside the host and returns its error.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	h.work <- func() { result <- f() }
	return <-result
}

// Start starts a process inside the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// IP runs a batch of ip. peers are open namespaces, which the batch names as /proc/self/fd/3, 4, ...
func (h *Host) IP(batch string, peers ...*os.File) error {
	return h.feed(batch, peers, "ip", "-batch", "-")
}

// TC runs a batch of tc.
func (h *Host) TC(batch string) error { return h.feed(batch, nil, "tc", "-force", "-batch", "-") }

// NFT runs a script of nft, all of it or nothing.
func (h *Host) NFT(script string) error { return h.feed(script, nil, "nft", "-f", "-") }

// Set writes a kernel setting below /proc/sys.
func (h *Host) Set(key, value string) error {
	return h.Do(func() error {
		path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		return nil
	})
}

// feed runs a program inside the host with text on its standard input, and wants it to succeed.
func (h *Host) feed(text string, peers []*os.File, name string, args ...string) error {
	path, err := Program(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return h.Do(func() error {
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

// Program finds a program also where an ordinary user's PATH does not look.
func Program(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}
