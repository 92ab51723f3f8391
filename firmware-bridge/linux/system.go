package linux

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"golang.org/x/sys/unix"
)

// system reads the kernel's own figures. Files stay open and buffers are reused.
type system struct {
	stat, mem, snmp figures
	disk            string
	zones           []zone
	buf             []byte
	busy, total     float64 // of /proc/stat at the last reading
	reboot          float64
}

type zone struct {
	name string
	figures
}

// figures is a file of procfs or sysfs, asked again and again.
type figures struct {
	file *os.File
	fd   int // of file, which would ask the kernel for its mode each time
}

func openFigures(path string) (figures, error) {
	f, err := os.Open(path)
	if err != nil {
		return figures{}, err
	}
	return figures{f, int(f.Fd())}, nil
}

func openSystem(disk string) (*system, error) {
	s := &system{disk: disk, buf: make([]byte, 8192), reboot: rebootReason()}
	for _, f := range []struct {
		to   *figures
		path string
	}{{&s.stat, "/proc/stat"}, {&s.mem, "/proc/meminfo"}, {&s.snmp, "/proc/self/net/snmp"}} {
		var err error
		if *f.to, err = openFigures(f.path); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	paths, _ := filepath.Glob("/sys/class/thermal/thermal_zone*/temp")
	for _, p := range paths[:min(len(paths), 4)] {
		if f, err := openFigures(p); err == nil {
			s.zones = append(s.zones, zone{filepath.Base(filepath.Dir(p)), f})
		}
	}
	s.cpu()
	return s, nil
}

func (s *system) close() (err error) {
	for _, f := range []figures{s.stat, s.mem, s.snmp} {
		if f.file != nil {
			err = errors.Join(err, f.file.Close())
		}
	}
	for _, z := range s.zones {
		err = errors.Join(err, z.file.Close())
	}
	return err
}

// read returns what one read of the file gives: procfs makes the text anew for a read at its beginning, and more
// than the buffer is not needed. os.File would ask once more, to see the end.
func (s *system) read(f figures) []byte {
	n, _ := unix.Pread(f.fd, s.buf, 0)
	return s.buf[:max(n, 0)]
}

// cpu is the share of time the processors were busy since the last call, NaN when too short to tell.
func (s *system) cpu() float64 {
	line, _, _ := bytes.Cut(s.read(s.stat), []byte{'\n'})
	var v [10]float64
	for i, f := range fields(line, len(v)+1) {
		if i > 0 {
			v[i-1] = number(f)
		}
	}
	total, idle := 0.0, v[3]+v[4]
	for _, x := range v[:8] { // guest time is in user time already
		total += x
	}
	dTotal, dBusy := total-s.total, (total-idle)-s.busy
	s.total, s.busy = total, total-idle
	if dTotal <= 0 {
		return math.NaN()
	}
	return min(max(dBusy/dTotal, 0), 1)
}

func (s *system) memory() float64 {
	b := s.read(s.mem)
	i := bytes.Index(b, []byte("MemAvailable:"))
	if i < 0 {
		return math.NaN()
	}
	f := fields(b[i:min(len(b), i+64)], 2)
	if len(f) < 2 {
		return math.NaN()
	}
	return number(f[1]) * 1024
}

// tcp are the counters of segments sent and sent again, of the network namespace the file was opened in.
func (s *system) tcp() (out, again float64) {
	b := s.read(s.snmp)
	head := bytes.Index(b, []byte("\nTcp:"))
	if head < 0 {
		return math.NaN(), math.NaN()
	}
	names, rest, _ := bytes.Cut(b[head+1:], []byte{'\n'})
	values, _, _ := bytes.Cut(rest, []byte{'\n'})
	out, again = math.NaN(), math.NaN()
	n, v := fields(names, 32), fields(values, 32)
	for i := range min(len(n), len(v)) {
		switch string(n[i]) {
		case "OutSegs":
			out = number(v[i])
		case "RetransSegs":
			again = number(v[i])
		}
	}
	return out, again
}

func (s *system) up() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return math.NaN()
	}
	return time.Duration(t.Nano()).Seconds()
}

func (s *system) diskFree() float64 {
	var st unix.Statfs_t
	if err := unix.Statfs(s.disk, &st); err != nil {
		return math.NaN()
	}
	return float64(st.Bavail) * float64(st.Bsize)
}

func (s *system) temperature(i int) float64 {
	f := fields(s.read(s.zones[i].figures), 1)
	if len(f) == 0 {
		return math.NaN()
	}
	return number(f[0]) / 1000
}

// Reasons of the last boot, the values of boot.reason_code.
const (
	bootUnknown  = 0
	bootWatchdog = 1 // the watchdog found the system stuck
	bootCrash    = 2 // the kernel left a record of a panic
	bootHeat     = 3
	bootPower    = 4 // the supply was too weak
)

// rebootReason asks the watchdog (WDIOF_* of linux/watchdog.h) and pstore why the system started.
func rebootReason() float64 {
	text := firstText("/sys/class/watchdog/watchdog0/bootstatus")
	if status, err := strconv.ParseUint(text, 0, 32); err == nil {
		switch {
		case status&0x20 != 0:
			return bootWatchdog
		case status&0x1 != 0:
			return bootHeat
		case status&0x10 != 0:
			return bootPower
		}
	}
	if list, _ := filepath.Glob("/sys/fs/pstore/dmesg-*"); len(list) > 0 {
		return bootCrash
	}
	return bootUnknown
}

// fields splits at blanks, at most n of them, without copying.
func fields(b []byte, n int) [][]byte {
	out := make([][]byte, 0, n)
	for len(out) < n {
		b = bytes.TrimLeft(b, " \t\n")
		if len(b) == 0 {
			break
		}
		end := bytes.IndexAny(b, " \t\n")
		if end < 0 {
			end = len(b)
		}
		out = append(out, b[:end])
		b = b[end:]
	}
	return out
}

func number(b []byte) float64 {
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// speeds remembers what the interfaces negotiated: to ask is dear, since the driver asks the hardware, and a
// link negotiates only when it comes up.
type speeds map[int]negotiated

type negotiated struct {
	name    string
	changes uint32 // of the carrier, when it was asked
	mbps    float64
}

func (s *speeds) of(l *rtnl.Link) float64 {
	n, ok := (*s)[l.Index]
	if !ok || n.name != l.Name || n.changes != l.CarrierChanges {
		n = negotiated{l.Name, l.CarrierChanges, speed(l.Name)}
		if *s == nil {
			*s = speeds{}
		}
		(*s)[l.Index] = n
	}
	return n.mbps
}

// speed is what an interface negotiated in Mbit/s, NaN where it does not say (Wi-Fi, no carrier).
func speed(iface string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/sys/class/net/%s/speed", iface))
	if err != nil {
		return math.NaN()
	}
	v := number(bytes.TrimSpace(b))
	if !(v > 0) {
		return math.NaN()
	}
	return v
}
