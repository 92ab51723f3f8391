package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/pflag"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/heap"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/store/postgres"
)

type closableDB interface {
	store.DB
	io.Closer
}

func serve(ctx context.Context, args []string) (err error) {
	c, err := readConfig(flags("serve"), args)
	if err != nil {
		return helped(err)
	}
	log := c.logger()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	opts, err := c.options(log)
	if err != nil {
		return err
	}
	db, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	opts.DB = db
	if file, ok := db.(*bolt.DB); ok {
		opts.Backup = file.Backup
	}
	a, err := app.New(ctx, opts)
	if err != nil {
		return err
	}
	at := a.Addrs()
	mqtt := c.Devices.Broker
	if at.MQTT != nil {
		mqtt = at.MQTT.String()
	}
	log.Info("serving", "http", at.HTTP.String(), "mqtt", mqtt, "enrol", at.Enrol.String(), "tenant", c.Tenant.ID, "version", version)
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { heap.Run(ctx) })
	return a.Run(ctx)
}

// helped makes asking for help no error.
func helped(err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	return err
}

func (c *config) logger() *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(c.Log)) // checked by check
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func (c *config) options(log *slog.Logger) (app.Options, error) {
	keys, err := c.planKeys()
	if err != nil {
		return app.Options{}, err
	}
	turn, err := c.turn()
	if err != nil {
		return app.Options{}, err
	}
	model, baseline, err := c.riskModel()
	if err != nil {
		return app.Options{}, err
	}
	return app.Options{
		RiskModel: model, RiskBaseline: baseline,
		Data: c.Data, Tenants: c.tenants(), Region: c.Tenant.PhoneRegion,
		HTTP: c.HTTP.Listen, Certificate: c.HTTP.Certificate, Key: c.HTTP.Key, Secure: c.HTTP.SecureCookies,
		Broker: c.Devices.Broker, Instance: c.Devices.Instance, MQTT: c.Devices.MQTT, Enrol: c.Devices.Enrol, Hosts: c.Devices.Hosts,
		PlanFolder: c.Plans.Folder, PlanKeys: keys, DiagnosisUnasked: c.Policy.DiagnosisUnasked, TURN: turn,
		Outbreak: app.OutbreakOptions{Step: c.Outbreak.Step, Every: c.Outbreak.Every, Apart: c.Outbreak.Apart, Learn: c.Outbreak.Learn},
		Version:  version, Logger: log,
		FirstPassword: func(tenant, name, password string) error {
			fmt.Printf("first start: sign in as %s with the password %s (shown this once)\n", name, password)
			if c.FirstPasswordFile == "" {
				return nil
			}
			return writeNew(c.FirstPasswordFile, password+"\n")
		},
	}, nil
}

func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// file is the store of engine bolt.
func (c *config) file() string { return filepath.Join(c.Data, "hearth.db") }

func (c *config) open(ctx context.Context, log *slog.Logger) (closableDB, error) {
	if c.Store.Engine == "postgres" {
		return postgres.Open(ctx, postgres.Options{URL: c.Store.URL, MigrateURL: c.Store.MigrateURL, Logger: log}, app.Tables()...)
	}
	return bolt.Open(bolt.Options{Path: c.file(), Logger: log}, app.Tables()...)
}
