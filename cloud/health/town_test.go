package health

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const tenant = "acme"

// town is a fleet with one hub a home, on a real store.
type town struct {
	t      *testing.T
	now    time.Time
	db     store.DB
	h      *Watch
	log    *timeline.Log
	homes  []cloud.Home
	index  map[string]int
	serial int
}

func newTown(t *testing.T, homes int) *town {
	w := &town{t: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), index: map[string]int{}}
	for i := range homes {
		id := fmt.Sprintf("h%06d", i)
		w.index[id] = i
		w.homes = append(w.homes, cloud.Home{ID: id, Region: fmt.Sprint("r", i%4), ISP: fmt.Sprint("isp", i/4%3)})
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, append(Tables(), timeline.Tables()...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.db = db
	if w.h, err = New(Options{DB: db, Fleet: w, Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	w.log = timeline.New(func() time.Time { return w.now }, w.h.Rules()...)
	return w
}

func (w *town) Home(_ store.Tx, id string) (cloud.Home, error) {
	i, ok := w.index[id]
	if !ok {
		return cloud.Home{}, store.ErrNotFound
	}
	return w.homes[i], nil
}

func (w *town) Homes(_ store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error) {
	from := 0
	if after != "" {
		if _, err := fmt.Sscan(string(after), &from); err != nil {
			return nil, "", err
		}
	}
	if to := from + limit; to < len(w.homes) {
		return w.homes[from:to], store.Cursor(fmt.Sprint(to)), nil
	}
	return w.homes[from:], "", nil
}

func device(home int) string { return fmt.Sprintf("hub%06d", home) }

func (w *town) entry(home int, at time.Time, kind cloud.Kind, args map[string]string) store.Work {
	w.serial++
	e := cloud.Entry{
		ID: protocol.DeviceEntryID(device(home), 1, uint64(w.serial)), Home: w.homes[home].ID, At: at, Kind: kind, Args: args,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: device(home)}}, Actor: cloud.Ref{Type: cloud.RefService, ID: "test"},
	}
	return store.Work{Tenant: tenant, Do: func(tx store.Tx) error { return w.log.Append(tx, e) }}
}

func (w *town) batch(work ...store.Work) {
	w.t.Helper()
	for part := range slices.Chunk(work, 5000) {
		if err := errors.Join(w.db.Batch(context.Background(), part)...); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *town) sweep() {
	w.t.Helper()
	if err := w.h.Sweep(context.Background(), tenant); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) view(fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.db.View(context.Background(), tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

// tickets counts the homes for which a support desk that asks Judge, and waits when told to, opens a ticket.
func (w *town) tickets(homes []int, vanished time.Time) (n int) {
	w.t.Helper()
	w.view(func(tx store.Tx) error {
		n = 0
		for _, i := range homes {
			j, err := w.h.Judge(tx, w.homes[i], device(i), vanished, w.now)
			if err != nil {
				return err
			}
			if j.Incident == "" && j.Wait == 0 {
				n++
			}
		}
		return nil
	})
	return n
}

func (w *town) incidents() (all []Incident) {
	w.t.Helper()
	all, err := w.h.During(context.Background(), tenant, time.Time{}.AddDate(1, 0, 0), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
