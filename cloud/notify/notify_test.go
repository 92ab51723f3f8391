package notify_test

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/notify"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func TestTheCustomerIsToldOnlyWhatIsKnownOfATicket(t *testing.T) {
	const tried, cause = "did not help", "looks like the cause"
	for name, c := range map[string]struct {
		by      string
		segment string
		says    []string
		not     []string
	}{
		"the service, with a cause":     {cloud.RefService, "isp", []string{tried, cause, "your internet provider"}, nil},
		"the service, without one":      {cloud.RefService, "unknown", []string{tried}, []string{cause}},
		"a person, before anything was": {cloud.RefStaff, "unknown", []string{"opened a case"}, []string{tried, cause, "problem"}},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, notify.Tables()...)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var told []cloud.Notice
			err = db.Update(t.Context(), "acme", func(tx store.Tx) error {
				_, err := notify.Tell(tx, &cloud.Entry{
					ID: "e1", Home: "h1", Kind: cloud.KindTicketOpened, Actor: cloud.Ref{Type: c.by, ID: "x"}, At: time.Unix(1e9, 0),
					Args: map[string]string{"ticket": "t1", "title": "resolver.dead", "segment": c.segment},
				})
				if err != nil {
					return err
				}
				told, err = notify.Of(tx, "h1", time.Time{}, 10)
				return err
			})
			if err != nil || len(told) != 1 || told[0].Resolved {
				t.Fatalf("told %+v, %v; want one notice that is open", told, err)
			}
			title, text := notify.Text("en", &told[0])
			for _, s := range c.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q does not say %q", text, s)
				}
			}
			for _, s := range c.not {
				if strings.Contains(title+text, s) {
					t.Errorf("%q, %q says %q", title, text, s)
				}
			}
			for _, lang := range timeline.Languages {
				if title, text := notify.Text(lang, &told[0]); strings.ContainsAny(title+text, "?{[") {
					t.Errorf("%s: %q, %q", lang, title, text)
				}
			}
		})
	}
}

func TestAClosedTicketSettlesItsNoticesAndNoQuestion(t *testing.T) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, notify.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Unix(1e9, 0)
	open := map[cloud.Kind]bool{}
	err = db.Update(t.Context(), "acme", func(tx store.Tx) error {
		entry := func(kind cloud.Kind) *cloud.Entry {
			return &cloud.Entry{
				ID: protocol.EntryID(kind), Home: "h1", Kind: kind, Actor: cloud.Ref{Type: cloud.RefService, ID: "x"}, At: now,
				Args: map[string]string{"ticket": "t1", "title": "resolver.dead", "segment": "isp", "session": "s1", "until": now.Add(time.Hour).Format(time.RFC3339)},
			}
		}
		if _, err := notify.Tell(tx, entry(cloud.KindTicketOpened)); err != nil {
			return err
		}
		if _, err := notify.Ask(tx, entry(cloud.KindCustomerAsked)); err != nil {
			return err
		}
		if _, err := notify.Tell(tx, entry(cloud.KindTicketClosed)); err != nil {
			return err
		}
		all, err := notify.Of(tx, "h1", time.Time{}, 10)
		for _, n := range all {
			open[cloud.Kind(n.Key)] = !n.Resolved
		}
		return err
	})
	want := map[cloud.Kind]bool{cloud.KindTicketOpened: false, cloud.KindCustomerAsked: true, cloud.KindTicketClosed: false}
	if err != nil || !maps.Equal(open, want) {
		t.Errorf("open are %v, %v; want %v", open, err, want)
	}
}
