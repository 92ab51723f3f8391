package app_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func TestBoltTakesEveryTable(t *testing.T) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, app.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAManagerWithPsqlGetsAnswers writes a small story by way of the packages that own it, and asks the
// views about it.
func TestAManagerWithPsqlGetsAnswers(t *testing.T) {
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	service, owner, err := server.Database()
	if err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner}, app.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	log := timeline.New(nil, timeline.Rule{On: cloud.KindTicketOpened, Name: "opened", Do: desk.Opened})
	staff := cloud.Ref{Type: cloud.RefStaff, ID: "ann"}
	err = db.Update(t.Context(), "acme", func(tx store.Tx) error {
		if _, err := fleet.AddHome(tx, cloud.Home{ID: "h1", Name: "Lin, Taipei", ISP: "hinet"}); err != nil {
			return err
		}
		if _, err := fleet.Add(tx, cloud.Device{ID: "hub1", Home: "h1", Name: "Hub", Model: "H1", Firmware: "2.4.1"}); err != nil {
			return err
		}
		if _, err := identity.Add(tx, cloud.Customer{ID: "c1", Name: "Wei Lin", Phones: []string{"+886912345678"}}, "TW"); err != nil {
			return err
		}
		if err := identity.Begin(tx, cloud.Membership{Customer: "c1", Home: "h1", Role: "owner", Begin: time.Now().Add(-time.Hour)}); err != nil {
			return err
		}
		ticket, err := desk.Open("h1", "hub1", "No internet since noon", staff)
		if err != nil {
			return err
		}
		if err := log.Append(tx, ticket); err != nil {
			return err
		}
		for _, kind := range []protocol.EventKind{protocol.EventFixApplied, protocol.EventFixVerified} {
			e := cloud.Entry{Home: "h1", Kind: cloud.Kind(kind), Actor: cloud.Ref{Type: cloud.RefDevice, ID: "hub1"}, Args: map[string]string{"action": "dns.switch"}}
			if err := log.Append(tx, e); err != nil {
				return err
			}
		}
		for range 2 {
			c := cloud.Contact{Home: "h1", Customer: "c1", Channel: "phone", From: "+886912345678", Text: "still broken", At: time.Now().Add(-time.Hour).UTC(), Promise: &cloud.Promise{Text: "we call back", Due: time.Now().Add(-time.Minute)}}
			if _, _, err := desk.Receive(tx, c, staff, log.Append); err != nil {
				return err
			}
		}
		hub := fleet.Presence{Log: log.Append}
		if err := hub.Came(tx, "h1", "hub1", "1.0", "", time.Now()); err != nil {
			return err
		}
		return hub.Left(tx, "h1", "hub1", time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, tenant := range []string{"acme", "other"} {
		if _, err := conn.Exec(t.Context(), "set hearth.tenant = '"+tenant+"'"); err != nil {
			t.Fatal(err)
		}
		for question, want := range map[string]string{
			"select count(*) || ' ' || min(home_name) || ' ' || min(title) || ' ' || min(model) from hearthline.open_matters":           "1 Lin, Taipei No internet since noon H1",
			"select count(*) || ' ' || bool_and(late) || ' ' || min(customer_name) || ' ' || min(promise) from hearthline.promises_due": "2 true Wei Lin we call back",
			"select customer_name || ' ' || home_name || ' ' || open_matters from hearthline.callers where phone = '+886912345678'":     "Wei Lin Lin, Taipei 1",
			"select count(*) || ' ' || min(isp) from hearthline.devices_offline":                                                        "1 hinet",
			"select sum(fixed) || ' ' || sum(contacts) || ' ' || sum(tickets) from hearthline.days":                                     "1 2 1",
			"select action || ' ' || applied || ' ' || held || ' ' || rolled_back from hearthline.fixes":                                "dns.switch 1 1 0",
			"select customer_name || ' ' || contacts from hearthline.came_again":                                                        "Wei Lin 2",
			"select count(*)::text from hearthline.time_to_solve":                                                                       "0",
			"select count(*)::text from hearthline.bad_batches":                                                                         "0",
			"select count(*)::text from hearthline.stuck_effects":                                                                       "0",
		} {
			var got *string
			err := conn.QueryRow(t.Context(), question).Scan(&got)
			switch {
			case tenant == "other":
				if err == nil && got != nil && *got != "0" {
					t.Errorf("another tenant asks %s: %s", question, *got)
				}
			case err != nil:
				t.Errorf("%s: %v", question, err)
			case got == nil || *got != want:
				t.Errorf("%s: %v, want %s", question, got, want)
			}
		}
	}
}
