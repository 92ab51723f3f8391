package chaos

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// wall is the wall clock of one process, which can be set without touching that of the machine.
//
// No namespace covers CLOCK_REALTIME, and a program reads it without entering the kernel, from the vDSO
// that the kernel maps into it. So that function is replaced in the process's own copy before its first
// instruction runs, by one that asks the kernel and adds what stands behind it. The monotonic clock is left
// alone: what the program sees is what a step of the time by NTP or a dead battery looks like.
type wall struct {
	mem *os.File
	at  int64 // of the offset in seconds, 8 bytes
}

// clockGettime is the replacement: it ends where the offset begins.
var clockGettime = map[string][]byte{"amd64": {
	0xb8, 228, 0, 0, 0, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
	0x75, 10, // jnz ret
	0x48, 0x8b, 0x0d, 4, 0, 0, 0, // mov rcx, [rip+4]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, // ret
}}

// startWithClock starts a command that is to be traced and takes hold of its wall clock before it runs. The
// calling thread must be locked, since a tracer is a thread.
func startWithClock(cmd *exec.Cmd, offset time.Duration) (*wall, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	if _, err := syscall.Wait4(pid, new(syscall.WaitStatus), 0, nil); err != nil { // stopped at its exec
		return nil, err
	}
	w, err := holdClock(pid, offset)
	if err := errors.Join(err, syscall.PtraceDetach(pid)); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return w, nil
}

func holdClock(pid int, offset time.Duration) (_ *wall, err error) {
	code, ok := clockGettime[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("clock of a process: not known how to set it on %s", runtime.GOARCH)
	}
	from, image, err := vdso(pid)
	if err != nil {
		return nil, fmt.Errorf("clock of a process: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("clock of a process: vdso: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("clock of a process: vdso: %w", err)
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" || s.Size < uint64(len(code)+8) {
			continue
		}
		w := &wall{at: int64(from + s.Value + uint64(len(code)))}
		if w.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err != nil {
			return nil, err
		}
		if _, err := w.mem.WriteAt(code, int64(from+s.Value)); err != nil {
			return nil, fmt.Errorf("clock of a process: %w", err)
		}
		return w, w.set(offset)
	}
	return nil, fmt.Errorf("clock of a process: its vdso has no room for another clock_gettime")
}

// vdso returns where it lies in a process, and what it is.
func vdso(pid int) (from uint64, image []byte, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, nil, err
	}
	for line := range strings.Lines(string(maps)) {
		var to uint64
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return 0, nil, err
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return 0, nil, err
		}
		defer mem.Close()
		image = make([]byte, to-from)
		_, err = mem.ReadAt(image, int64(from))
		return from, image, err
	}
	return 0, nil, fmt.Errorf("no vdso is mapped into process %d", pid)
}

// set makes the process's wall clock differ from the machine's by offset, in whole seconds. To the process
// it is a jump. For one that has ended it does nothing.
func (w *wall) set(offset time.Duration) error {
	_, err := syscall.Pwrite(int(w.mem.Fd()), binary.NativeEndian.AppendUint64(nil, uint64(offset/time.Second)), w.at)
	if err != nil {
		return fmt.Errorf("clock of a process: %w", err)
	}
	return nil
}
