package bolt_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func BenchmarkTimelinePage(b *testing.B) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "store.db"), NoSync: true}, timeline.Tables()...)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	log := timeline.New(nil)
	for h := range 200 {
		err := db.Update(ctx, "acme", func(tx store.Tx) error {
			for n := range 80 {
				e := cloud.Entry{
					ID: protocol.EntryID(fmt.Sprintf("hub-%07d.7.%d", h, n)), Home: fmt.Sprintf("home-%07d", h), At: time.Unix(int64(n), 0), Kind: "symptom.seen",
					Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: "hub-0000017"}}, Actor: cloud.Ref{Type: cloud.RefDevice, ID: "hub-0000017"},
					Args:    map[string]string{"code": "resolver.slow", "segment": "home", "latency_ms": "412"},
					Because: []protocol.EntryID{"hub-0000017.7.1"},
				}
				if err := log.Append(tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		err := db.View(ctx, "acme", func(tx store.Tx) error {
			page, _, err := timeline.Page(tx, fmt.Sprintf("home-%07d", i%200), "", 50)
			if len(page) != 50 {
				return fmt.Errorf("%d entries", len(page))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
