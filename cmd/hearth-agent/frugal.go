package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// gcPercent keeps the heap of a start near what is in use: Go's default lets it grow to four megabytes before
// it looks, and a hub has little memory and few allocations to pay for it.
const gcPercent = 25

// processors is how many the agent's own code may use at once. It sleeps nearly always; with more than one,
// every wake-up wakes other threads that look for work, find none and sleep again, and that was half of the
// processor time. What waits for the disk or the network waits outside of it.
const processors = 1

// supervisorSlack is how late the runtime's supervisor (sysmon) may wake, the longest nap it chooses itself.
const supervisorSlack = "10000000" // ns

const (
	settleAfter = 20 * time.Second // starting up is over: connected, first samples taken
	settleEvery = 5 * time.Minute  // as often as telemetry is sent, which wakes what a sample leaves asleep
	garbageRoom = 3 << 20          // of which Go keeps a megabyte; what may be allocated before it collects by itself. Five calm minutes take 0.4 MB
)

// frugal tunes the Go runtime for a program that sleeps nearly always.
func frugal() {
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(processors)
	// Go would ask for a huge page of 2 MB as soon as it has a memory limit. Programs that the agent starts do
	// without as well.
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	slacken()
}

// settle frees what only starting up needed, and from then on what was used since: garbage, and the code that
// an event, a batch or a fix ran. In between nothing is collected unless much is allocated. Left alone, Go
// collects every two minutes, and a collection that finds 100 kB touches half a megabyte of the program.
func settle(ctx context.Context, log *slog.Logger) {
	parts, err := program()
	if err != nil {
		log.Debug("memory of the program is not freed", "error", err)
	}
	t := time.NewTimer(settleAfter)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		t.Reset(settleEvery)
		debug.SetGCPercent(-1) // the limit below alone decides
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		debug.SetMemoryLimit(int64(m.Sys-m.HeapReleased) + garbageRoom)
		if err := trim(parts); err != nil {
			log.Debug("memory of the program is not freed", "error", err)
		}
	}
}

// slacken lets the runtime's supervisor wake a little late. It wakes exactly at every timer's time, but the
// thread that serves the timer sleeps in epoll_wait, which Linux ends up to a thousandth of its timeout later:
// 5 ms of 5 s. In between the supervisor, seeing a timer overdue, looked 25 to 35 times for it, 20 us apart.
//
// The threads that the supervisor starts, when others wait for the disk, inherit it: a timer may be 10 ms late
// then. (Programs would inherit it too; who starts one undoes it.) And when a goroutine waits for the disk, the
// others wait until the supervisor notices, now always up to 10 ms, before only after a while of work. A round
// trip is measured wrong by that only if its answer comes during an fsync.
//
// The supervisor is the second thread of every Go program, started before anything else; should that
// change, another thread has the slack. Linux allows it with CAP_SYS_NICE; without, all stays as it was.
func slacken() {
	tasks, err := os.Open("/proc/self/task")
	if err != nil {
		return
	}
	defer tasks.Close()
	ids, _ := tasks.Readdirnames(2) // in the order of their start
	if len(ids) == 2 {
		_ = os.WriteFile(fmt.Sprintf("/proc/%s/timerslack_ns", ids[1]), []byte(supervisorSlack), 0)
	}
}
