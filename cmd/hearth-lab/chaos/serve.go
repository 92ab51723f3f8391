package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

// Tenant and Prefix name the devices of the lab.
const (
	Tenant = "lab"
	Prefix = "hub-"
)

func deviceID(i int) string { return Prefix + strconv.Itoa(i+1) }
func homeID(i int) string   { return "home-" + strconv.Itoa(i+1) }

func openStore(dir string) (*bolt.DB, error) {
	return bolt.Open(bolt.Options{Path: filepath.Join(dir, "store.db"), MapBytes: 1 << 30}, app.Tables()...)
}

// Provision makes the homes and devices of the lab, once.
func Provision(ctx context.Context, db store.DB, devices int) error {
	return db.Update(ctx, Tenant, func(tx store.Tx) error {
		if _, err := fleet.Home(tx, homeID(devices-1)); err == nil {
			return nil
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		for i := range devices {
			if _, err := fleet.AddHome(tx, cloud.Home{ID: homeID(i), Name: "Home"}); err != nil {
				return err
			}
			if _, err := fleet.Add(tx, cloud.Device{ID: deviceID(i), Home: homeID(i), Name: "Hub"}); err != nil {
				return err
			}
		}
		return nil
	})
}

// serve is the cloud of the lab: the whole service on one bbolt file. It prints "ready" and works until it
// is killed.
func serve(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("chaos serve", flag.ContinueOnError)
	dir := fs.String("dir", "", "data folder")
	mqtt := fs.String("mqtt", "", "where devices connect")
	broker := fs.String("broker", "", "address of a broker that serves devices there; empty: the embedded one")
	devices := fs.Int("devices", 0, "devices of the registry")
	lying := fs.Bool("lying", false, "acknowledge before committing: the control that must lose")
	if err := fs.Parse(args); err != nil {
		return err
	}
	db, err := openStore(*dir)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := Provision(ctx, db, *devices); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(*mqtt)
	if err != nil {
		return err
	}
	opts := app.Options{
		DB: db, Data: *dir, Tenants: []cloud.Tenant{{ID: Tenant, Name: "Lab"}},
		HTTP: "127.0.0.1:0", MQTT: *mqtt, Broker: *broker, Instance: "lab", Enrol: "127.0.0.1:0", Hosts: []string{host},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	if *lying {
		opts.DB = &liar{DB: db}
	}
	a, err := app.New(ctx, opts)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return a.Run(ctx)
}

// liar says that a batch is committed and commits it a little later, the mistake that this lab is there
// to find: whatever it has said and not done when it is killed is lost.
type liar struct{ store.DB }

var errNotYet = errors.New("not yet")

func (l *liar) Batch(ctx context.Context, work []store.Work) []error {
	// Work fills in what is to be acknowledged, so it has to run; its writes are thrown away.
	dry := make([]store.Work, len(work))
	for i, w := range work {
		dry[i] = store.Work{Tenant: w.Tenant, Do: func(tx store.Tx) error {
			if err := w.Do(tx); err != nil {
				return err
			}
			return errNotYet
		}}
	}
	errs := l.DB.Batch(ctx, dry)
	for i, err := range errs {
		if errors.Is(err, errNotYet) {
			errs[i] = nil
		}
	}
	go func() {
		time.Sleep(300 * time.Millisecond)
		l.DB.Batch(context.WithoutCancel(ctx), work)
	}()
	return errs
}
