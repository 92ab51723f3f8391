package enrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/agent"
)

// A hub that starts in 1970 and is set right after a minute must not wait until 1970 is over.
func TestACertificateIsRenewedInTimeWhenTheClockIsSetLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begins := time.Now()
		leaf := &x509.Certificate{NotBefore: begins, NotAfter: begins.AddDate(0, 0, 90)}
		id := &agent.Identity{Tenant: "acme", Device: "hub-1", Certificate: tls.Certificate{Leaf: leaf}}
		var said bytes.Buffer // what it tried fails, and it says so
		k := NewKeeper(Options{Dir: t.TempDir(), URL: "https://127.0.0.1:1"}, id, slog.New(slog.NewTextHandler(&said, nil)))
		k.now = func() time.Time {
			if now := time.Now(); now.After(begins.Add(time.Minute)) {
				return now
			}
			return time.Unix(0, 0)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = k.Run(ctx) })
		tried := func() bool {
			synctest.Wait()
			return strings.Contains(said.String(), "certificate not renewed")
		}
		time.Sleep(59 * 24 * time.Hour)
		if tried() {
			t.Error("renewed before two thirds of its life")
		}
		time.Sleep(2 * 24 * time.Hour)
		if !tried() {
			t.Error("not renewed after two thirds of its life")
		}
		cancel()
		wg.Wait()
	})
}
