package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// resolverFile is resolv.conf(5). It caches what it read for as long as the file is the same.
type resolverFile struct {
	path    string
	changed time.Time
	size    int64
	list    []netip.Addr
}

// maxResolvers is what the C library uses too.
const maxResolvers = 3

// active are the configured resolvers, in order.
func (r *resolverFile) active() []netip.Addr {
	st, err := os.Stat(r.path)
	if err != nil {
		return nil
	}
	if st.ModTime().Equal(r.changed) && st.Size() == r.size {
		return r.list
	}
	b, err := os.ReadFile(r.path)
	if err != nil {
		return nil
	}
	r.changed, r.size, r.list = st.ModTime(), st.Size(), parseResolvers(b)
	return r.list
}

func parseResolvers(b []byte) (list []netip.Addr) {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" || len(list) == maxResolvers {
			continue
		}
		if ip, err := netip.ParseAddr(f[1]); err == nil && !slices.Contains(list, ip) {
			list = append(list, ip)
		}
	}
	return list
}

// switchTo returns the text with one nameserver in the place of all; the other lines stay.
func switchTo(text []byte, resolver netip.Addr) []byte {
	var out bytes.Buffer
	done := false
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) > 0 && string(f[0]) == "nameserver" {
			if !done {
				fmt.Fprintf(&out, "nameserver %s\n", resolver)
			}
			done = true
			continue
		}
		out.Write(line)
	}
	if !done {
		if n := out.Len(); n > 0 && out.Bytes()[n-1] != '\n' {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "nameserver %s\n", resolver)
	}
	return out.Bytes()
}

// replaceFile writes a file so that a power cut leaves the old or the new one, keeping its mode. Where
// the file is a mount of its own, as in containers, and cannot be replaced, it is written in place.
func replaceFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	mode := os.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".hearthline-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = os.Rename(tmp.Name(), path)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer dir.Close()
	_ = dir.Sync() // not every file system can
	return nil
}
