package outbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/protocol"
)

// cut stops the file system as a power cut does: nothing that is not on the device yet will ever be
// (EXT4_IOC_SHUTDOWN with NOLOGFLUSH, linux/fs/ext4/ext4.h).
func (f *flash) cut(t *testing.T) {
	t.Helper()
	d, err := os.Open(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	const shutdown = 0x8004587d // _IOR('X', 125, __u32)
	flags := uint32(2)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&flags)))
	_ = d.Close()
	if errno != 0 {
		t.Fatalf("shutdown: %v", errno)
	}
}

// remount mounts a copy of what reached the device. The file system itself may live on in a mount namespace
// that some other process made in the meantime, and would come back as dead as it was left.
func (f *flash) remount(t *testing.T) {
	t.Helper()
	f.cuts++
	next := filepath.Join(filepath.Dir(f.dir), fmt.Sprintf("after-%d.img", f.cuts))
	for _, c := range [][]string{
		{"umount", f.dir},
		{"cp", "--sparse=always", f.image, next},
		{"rm", f.image},
		{"mount", "-o", "loop,noatime", next, f.dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	f.image = next
}

// Every event whose Event call returned is there after the power comes back, under its own id; no id is
// given out twice.
func TestNoEventIsLostInAPowerCut(t *testing.T) {
	cuts := 15
	if os.Getenv("HEARTH_LONG") != "" {
		cuts = 200
	}
	f := newFlash(t)
	path := filepath.Join(f.dir, "outbox.db")
	promised := map[protocol.EntryID]string{}
	for round := range cuts {
		o, err := outbox.Open(outbox.Options{Path: path, Device: "hub-1", Clock: agent.NewClock()})
		if err != nil {
			t.Fatal(err)
		}
		if o.SetAside() != "" {
			t.Fatalf("cut %d damaged the file: %s", round, o.SetAside())
		}
		found := map[protocol.EntryID]string{}
		runs, _ := drain(t, o, protocol.LaneEvent)
		for _, r := range runs {
			for i, rec := range r.Records {
				var e protocol.Event
				if err := protocol.Unmarshal(rec.Body, &e); err != nil {
					t.Fatal(err)
				}
				found[protocol.DeviceEntryID("hub-1", r.Epoch, r.First+uint64(i))] = e.Args["n"]
			}
		}
		for id, n := range promised {
			if found[id] != n {
				t.Fatalf("after cut %d, event %s holds %q, promised was %q", round, id, found[id], n)
			}
		}
		for id, n := range found {
			promised[id] = n // what was written but not yet promised is promised from now on
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 3 {
			wg.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					n := fmt.Sprintf("%d-%d-%d", round, w, k)
					id, err := o.Event(context.Background(), &protocol.Event{Kind: protocol.EventSymptom, Args: map[string]string{"n": n}})
					if err != nil {
						return // the power is gone
					}
					mu.Lock()
					if old, twice := promised[id]; twice {
						t.Errorf("%s was given out for %q and %q", id, old, n)
					}
					promised[id] = n
					mu.Unlock()
				}
			})
		}
		for enough := 5 * (round + 1); ; {
			mu.Lock()
			n := len(promised)
			mu.Unlock()
			if n >= enough {
				break
			}
		}
		f.cut(t)
		close(stop)
		wg.Wait()
		_ = o.Close()
		f.remount(t)
	}
	if len(promised) < cuts*5 {
		t.Errorf("only %d events in %d cuts: the test is blind", len(promised), cuts)
	}
}
