package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

// boltOnly reads the configuration of a command that works on the file of engine bolt.
func boltOnly(name string, args []string, more func(f interface {
	String(name, value, usage string) *string
}) *string,
) (c config, value string, err error) {
	f := flags(name)
	var v *string
	if more != nil {
		v = more(f)
	}
	// What only this command knows is no key of the configuration.
	c, err = readConfig(f, args)
	if err != nil {
		return c, "", err
	}
	if c.Store.Engine != "bolt" {
		return c, "", errors.New("this is for store.engine bolt; use the database's own tools for postgres")
	}
	if v != nil {
		value = *v
	}
	return c, value, nil
}

func backup(_ context.Context, args []string) (err error) {
	c, to, err := boltOnly("backup", args, func(f interface {
		String(name, value, usage string) *string
	},
	) *string {
		return f.String("to", "", "new file to write (required)")
	})
	if err != nil {
		return helped(err)
	}
	if to == "" {
		return errors.New("--to is missing: the new file to write")
	}
	if _, err := os.Stat(c.file()); err != nil {
		return err
	}
	db, err := bolt.Open(bolt.Options{Path: c.file()}, app.Tables()...)
	if errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("%w: the service is running; have it make the backup with hearthctl backup", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.BackupTo(to)
	if err != nil {
		return err
	}
	fmt.Printf("%d bytes written to %s\n", n, to)
	return nil
}

func restore(ctx context.Context, args []string) error {
	c, from, err := boltOnly("restore", args, func(f interface {
		String(name, value, usage string) *string
	},
	) *string {
		return f.String("from", "", "backup to read (required)")
	})
	if err != nil {
		return helped(err)
	}
	if from == "" {
		return errors.New("--from is missing: the backup to read")
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	if err := bolt.Restore(ctx, f, c.file(), app.Tables()...); err != nil {
		return err
	}
	fmt.Printf("restored to %s; the keys beside it are not part of a backup\n", c.file())
	return nil
}

func check(ctx context.Context, args []string) error {
	c, _, err := boltOnly("check", args, nil)
	if err != nil {
		return helped(err)
	}
	if err := bolt.CheckFile(ctx, c.file(), app.Tables()...); err != nil {
		return err
	}
	fmt.Printf("%s is consistent\n", c.file())
	return nil
}
