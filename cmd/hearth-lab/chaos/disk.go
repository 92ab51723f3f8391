package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a small ext4 of its own in a file, whose power can be cut and which can be filled up. Without
// the rights to mount one it is a plain folder that can do neither.
type disk struct {
	dir   string // where it is mounted
	image string // "" for a plain folder
}

func newDisk(root, name string, mebibytes int64) (*disk, error) {
	d := &disk{dir: filepath.Join(root, name), image: filepath.Join(root, name+".img")}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(mebibytes<<20), f.Close())
	if err == nil {
		err = run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	}
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		os.Remove(d.image)
		return &disk{dir: d.dir}, fmt.Errorf("no disk of its own: %w", err)
	}
	return d, nil
}

func (d *disk) mount() error { return run("mount", "-o", "loop", d.image, d.dir) }

// cut takes the power away: what is not on the disk now never will be. Every process that uses the disk
// must have been killed before restore, which looks for the file that is written and not synced here.
func (d *disk) cut() error {
	if err := os.WriteFile(d.unsynced(), []byte(unsyncedText), 0o600); err != nil {
		return err
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN, FSOP_GOING_FLAGS_NOLOGFLUSH (linux/fs/ext4)
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
}

// restore mounts the disk again, which replays its journal as after a power cut.
func (d *disk) restore() error {
	var err error
	for range 50 { // a killed process may hold it for a moment
		if err = run("umount", d.dir); err == nil {
			return d.powered()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// powered mounts the disk and removes what the cut has left, unless it has taken nothing.
func (d *disk) powered() error {
	if err := d.mount(); err != nil {
		return err
	}
	os.Remove(d.filler()) // its removal may not have reached the disk
	if text, err := os.ReadFile(d.unsynced()); err == nil && string(text) == unsyncedText {
		return fmt.Errorf("the power cut of %s has taken nothing: what was not synced is there", d.dir)
	}
	if err := os.Remove(d.unsynced()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

const unsyncedText = "written, not synced"

func (d *disk) unsynced() string { return filepath.Join(d.dir, "unsynced") }

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves no room.
func (d *disk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for len(buf) >= 4<<10 {
		if _, err := f.Write(buf); errors.Is(err, unix.ENOSPC) {
			buf = buf[:len(buf)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) free() error { return os.Remove(d.filler()) }

func (d *disk) close() {
	if d != nil && d.image != "" {
		run("umount", "-l", d.dir)
	}
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
