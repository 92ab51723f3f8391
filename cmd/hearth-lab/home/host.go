package home

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// newHost makes a machine of the home, which has a network, mounts and a name of its own. hosts is a folder
// on a tmpfs for the writable layer of its /etc.
func newHost(name, hosts string, shield bool) (*netns.Host, error) {
	return netns.New(name, unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWUTS, func() error { return furnish(name, hosts, shield) })
}

// furnish gives the calling thread's host its file systems and its name.
func furnish(name, hosts string, shield bool) error {
	dir := filepath.Join(hosts, name)
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
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return setResolver("")
}

// setResolver replaces resolv.conf on the calling thread's /etc, which may hold a link from below.
func setResolver(text string) error {
	const path = "/etc/resolv.conf"
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
