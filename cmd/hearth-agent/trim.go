package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// extent is where a part of the program is in memory.
type extent struct{ start, end uintptr }

// program finds the parts of the program's own file that are mapped and never written: code and constants.
func program() (parts []extent, err error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 00400000-00794000 r-xp 00000000 fe:00 1234  /usr/bin/hearth-agent
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[5] != self || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			parts = append(parts, extent{uintptr(start), uintptr(end)})
		}
	}
	return parts, lines.Err()
}

// trim gives the pages of the program itself back to the kernel. Starting up (parsing certificates, making
// keys, rebuilding the outbox) touches most of a binary whose daily work needs a fraction, an event or a
// collection of garbage more of it than a sample; and what is touched stays resident, 64 kB around each touch, on a
// hub that has nothing to page it out for. These are clean pages of a file: what is still needed comes back
// with the next instruction that wants it.
func trim(parts []extent) error {
	for _, p := range parts {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, p.start, p.end-p.start, syscall.MADV_DONTNEED); errno != 0 {
			return errno
		}
	}
	return nil
}
