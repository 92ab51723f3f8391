package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/hearthline/hearthline/cloud/store/bolt"
)

// backup writes a file that appears under its name only when it is whole, by its checksum, and on disk.
func backup(ctx context.Context, args []string) (err error) {
	f := pflag.NewFlagSet("hearthctl backup", pflag.ContinueOnError)
	connect := serviceFlags(f)
	to := f.String("to", "", "new file to write (required)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *to == "" {
		return errors.New("--to is missing: the new file to write")
	}
	s, err := connect(ctx)
	if err != nil {
		return err
	}
	resp, err := s.open(ctx, "/v1/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	file, err := os.CreateTemp(filepath.Dir(*to), filepath.Base(*to)+".partial-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // nothing is there when it was moved
	n, err := io.Copy(file, resp.Body)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = bolt.VerifyBackup(file)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("backup after %d bytes: %w", n, err)
	}
	if err := os.Link(file.Name(), *to); err != nil { // unlike a rename, never replaces
		return err
	}
	fmt.Printf("%d bytes written to %s; checksum verified\n", n, *to)
	return nil
}
