package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// token is a permission to enrol one device, once. Only the hash of its secret is kept.
type token struct {
	Hash    string     `json:"hash"` // hexadecimal SHA-256 of the secret
	Home    string     `json:"home"`
	Device  string     `json:"device"`
	Expires time.Time  `json:"expires"`
	Used    *time.Time `json:"used,omitempty"`
	Key     string     `json:"key,omitempty"` // hash of the public key that it was used for
}

var tokens = store.NewTable("enrolment_tokens", store.Spec[token]{
	Key:   store.Columns{store.Text("token")},
	KeyOf: func(t *token) store.Key { return store.Key{t.Hash} },
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{tokens} }

// MaxLife bounds how long a token may wait to be used.
const MaxLife = 30 * 24 * time.Hour

var alphabet = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// Mint writes a token for a device of a home and returns what the device has to present: the tenant and a
// secret of 160 bits, "acme.k3v9...". It cannot be read back. life is 1 second to MaxLife.
func Mint(tx store.Tx, home, device string, now time.Time, life time.Duration) (string, error) {
	if err := protocol.CheckID("device", device); err != nil {
		return "", cloud.Invalid("device", "%s", err)
	}
	if life < time.Second || life > MaxLife {
		return "", cloud.Invalid("life", "want 1 second to %d days", int(MaxLife.Hours()/24))
	}
	var b [20]byte
	rand.Read(b[:])
	secret := alphabet.EncodeToString(b[:])
	err := tokens.Insert(tx, &token{Hash: hash(secret), Home: home, Device: device, Expires: now.Add(life).UTC()})
	return tx.Tenant() + "." + secret, err
}

// split takes a presented token apart; ok is false when it does not even look like one.
func split(presented string) (tenant, secret string, ok bool) {
	tenant, secret, ok = strings.Cut(presented, ".")
	return tenant, secret, ok && len(secret) == 32 && store.CheckTenant(tenant) == nil
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
