package enrol

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/agent"
)

type ed25519Key = ed25519.PublicKey

const ed25519Size = ed25519.PublicKeySize

// Keeper holds the present identity and renews its certificate after two thirds of its life. Identity is
// safe for concurrent use.
type Keeper struct {
	opts Options
	log  *slog.Logger
	now  func() time.Time
	id   atomic.Pointer[agent.Identity]
}

// look is how often the keeper looks at the clock. A hub without a battery starts years ago and is set right
// later, so when to renew is not known before it is time.
const look = time.Hour

// NewKeeper returns a keeper of an identity that Load or First returned. A nil log means discard.
func NewKeeper(opts Options, id *agent.Identity, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{opts: opts, log: log, now: time.Now}
	k.id.Store(id)
	return k
}

// Identity is the present one.
func (k *Keeper) Identity() *agent.Identity { return k.id.Load() }

// Run renews when it is time, until ctx ends. A failed renewal is tried again after an hour or so: a third
// of the certificate's life is left for it.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		if due := k.due(); due > 0 {
			if !pause(ctx, min(due, look)) {
				return nil
			}
			continue
		}
		id, err := Renew(ctx, k.opts, k.Identity())
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			k.log.Warn("certificate not renewed, trying again later", "error", err)
			if !pause(ctx, retry(k.Identity())) {
				return nil
			}
			continue
		}
		k.id.Store(id)
		k.log.Info("certificate renewed", "not_after", id.Certificate.Leaf.NotAfter)
	}
}

func (k *Keeper) due() time.Duration {
	leaf := k.Identity().Certificate.Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3).Sub(k.now())
}

// retry is an hour, or a fiftieth of a short life, with jitter.
func retry(id *agent.Identity) time.Duration {
	leaf := id.Certificate.Leaf
	d := min(time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/50)
	return d/2 + rand.N(max(d, time.Millisecond))
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
