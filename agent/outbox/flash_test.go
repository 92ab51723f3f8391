package outbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/protocol"
)

// flash is an ext4 on a loop device of its own, so that every byte written to it is ours. It needs root.
type flash struct {
	image string
	dir   string
	stat  string
	cuts  int
}

func newFlash(t *testing.T) *flash {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "flash.img")
	run := func(name string, args ...string) string {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			name = "/usr/sbin/" + name
		}
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v (this test needs root): %v: %s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	loop := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { run("losetup", "--detach", loop) })
	f := &flash{image: image, dir: filepath.Join(dir, "mnt"), stat: "/sys/block/" + filepath.Base(loop) + "/stat"}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run("mount", "-o", "noatime", loop, f.dir)
	t.Cleanup(func() { run("umount", f.dir) })
	return f
}

// written is how many bytes reached the device so far, after everything pending was synced.
func (f *flash) written(t *testing.T) int64 {
	t.Helper()
	if out, err := exec.Command("sync", "-f", f.dir).CombinedOutput(); err != nil {
		t.Fatalf("sync: %v: %s", err, out)
	}
	b, err := os.ReadFile(f.stat)
	if err != nil {
		t.Fatal(err)
	}
	sectors, err := strconv.ParseInt(strings.Fields(string(b))[6], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return sectors * 512
}

// Flash wears out by what is written to it, journal and copied pages included.
func TestFlashIsSpared(t *testing.T) {
	f := newFlash(t)
	for _, c := range []struct {
		name   string
		online bool
		most   int64 // bytes a record
	}{
		{"telemetry that is acknowledged writes nothing", true, 0},
		{"telemetry of an outage writes at most a kilobyte a record", false, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, err := outbox.Open(outbox.Options{Path: filepath.Join(f.dir, fmt.Sprint(c.online)), Device: "hub-1", Clock: agent.NewClock()})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- o.Run(ctx) }()
				before := f.written(t)
				const records = 2000
				for n := range records {
					block(t, o, n, 250) // 300 bytes with its envelope
					time.Sleep(time.Second)
					if c.online {
						run, err := o.Read(protocol.LaneTelemetry, agent.Place{}, 10, 1<<20)
						if err != nil {
							t.Fatal(err)
						}
						o.Acked(protocol.LaneTelemetry, run.Epoch, run.Next().Sequence-1)
					}
				}
				each := (f.written(t) - before) / records
				t.Logf("%d bytes a record", each)
				if each > c.most {
					t.Errorf("%d bytes a record, want at most %d", each, c.most)
				}
				if !c.online && each < 250 {
					t.Errorf("%d bytes a record cannot hold it: the measurement is blind", each)
				}
				stop()
				<-done
				if err := o.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
	t.Run("an event costs one commit", func(t *testing.T) {
		o, err := outbox.Open(outbox.Options{Path: filepath.Join(f.dir, "events"), Device: "hub-1", Clock: agent.NewClock()})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		before := f.written(t)
		const events = 50
		for n := range events {
			_, epoch, seq, _ := event(t, o, n).Device()
			o.Acked(protocol.LaneEvent, epoch, seq)
		}
		each := (f.written(t) - before) / events
		t.Logf("%d bytes an event", each)
		if each > 48<<10 {
			t.Errorf("%d bytes an event", each)
		}
	})
}
