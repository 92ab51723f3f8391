package agent

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// asked is a clock of a device of acme, with a question open, whose uptime the test moves.
func asked() (c *Clock, id *Identity, up *time.Duration, nonce []byte) {
	up = new(time.Duration)
	*up = time.Hour
	c = NewClock()
	c.uptime = func() time.Duration { return *up }
	id = &Identity{Tenant: "acme", Device: "hub-1", CommandKeys: []ed25519.PublicKey{key(1).Public().(ed25519.PublicKey)}}
	return c, id, up, c.Ask()
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// cloudTime is far from that of any machine that runs this.
var cloudTime = time.Date(2061, 7, 28, 12, 0, 0, 0, time.UTC)

func told(t *testing.T, nonce []byte, change func(*protocol.Time)) []byte {
	t.Helper()
	m := protocol.Time{Version: 1, Tenant: "acme", Device: "hub-1", Nonce: nonce, Now: cloudTime.UnixMilli()}
	if change != nil {
		change(&m)
	}
	b, err := protocol.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signed(t *testing.T, payload []byte, purpose protocol.Purpose, key ed25519.PrivateKey) []byte {
	t.Helper()
	b, err := protocol.Sign(purpose, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheTimeIsThatOfTheAnswerSinceTheQuestionAndGoesOnUntilTheAnswerIsOld(t *testing.T) {
	c, id, up, nonce := asked()
	if own := c.Now(id); time.Since(own).Abs() > time.Minute {
		t.Errorf("with no answer the time is %s, want the device's own", own)
	}
	if left := c.Asking(); left != answerIn {
		t.Errorf("the answer may take %s", left)
	}
	*up += answerIn
	if err := c.Answer(id, signed(t, told(t, nonce, nil), protocol.PurposeTime, key(1))); err != nil {
		t.Fatal(err)
	}
	if c.Asking() != 0 {
		t.Error("the question is still open")
	}
	if now := c.Now(id); !now.Equal(cloudTime.Add(answerIn)) {
		t.Errorf("it is %s, want what the cloud said and the way of the answer, so never behind", now)
	}
	*up += knownFor - answerIn - 1
	if now := c.Now(id); !now.Equal(cloudTime.Add(knownFor - 1)) {
		t.Errorf("a day later it is %s", now)
	}
	c.Ask()
	if c.Asking() != 0 {
		t.Error("a new question makes the time unknown")
	}
	*up++
	if own := c.Now(id); time.Since(own).Abs() > time.Minute {
		t.Errorf("by an answer of yesterday it is %s, want the device's own time", own)
	}
	if c.Asking() == 0 {
		t.Error("the time is not known and a question is open, but nobody would wait for the answer")
	}
	*up += answerIn
	if left := c.Asking(); left != 0 {
		t.Errorf("an answer that is overdue may take another %s", left)
	}
}

func TestAnAnswerCountsOnlyFromTheCloudForThisDeviceToThisQuestionAndInTime(t *testing.T) {
	for name, answer := range map[string]func(c *Clock, up *time.Duration, nonce []byte) []byte{
		"unsigned": func(_ *Clock, _ *time.Duration, nonce []byte) []byte { return told(t, nonce, nil) },
		"by another key": func(_ *Clock, _ *time.Duration, nonce []byte) []byte {
			return signed(t, told(t, nonce, nil), protocol.PurposeTime, key(2))
		},
		"signed for something else": func(_ *Clock, _ *time.Duration, nonce []byte) []byte {
			return signed(t, told(t, nonce, nil), protocol.PurposeCommand, key(1))
		},
		"no time": func(*Clock, *time.Duration, []byte) []byte {
			return signed(t, []byte{0xa0}, protocol.PurposeTime, key(1))
		},
		"to another device": func(_ *Clock, _ *time.Duration, nonce []byte) []byte {
			return signed(t, told(t, nonce, func(m *protocol.Time) { m.Device = "hub-2" }), protocol.PurposeTime, key(1))
		},
		"to another tenant": func(_ *Clock, _ *time.Duration, nonce []byte) []byte {
			return signed(t, told(t, nonce, func(m *protocol.Time) { m.Tenant = "umbrella" }), protocol.PurposeTime, key(1))
		},
		"with another nonce": func(_ *Clock, _ *time.Duration, nonce []byte) []byte {
			return signed(t, told(t, bytes.Repeat([]byte{7}, len(nonce)), nil), protocol.PurposeTime, key(1))
		},
		"late": func(_ *Clock, up *time.Duration, nonce []byte) []byte {
			*up += answerIn + 1
			return signed(t, told(t, nonce, nil), protocol.PurposeTime, key(1))
		},
		"to the question before": func(c *Clock, _ *time.Duration, nonce []byte) []byte {
			c.Ask()
			return signed(t, told(t, nonce, nil), protocol.PurposeTime, key(1))
		},
	} {
		c, id, up, nonce := asked()
		if c.Answer(id, answer(c, up, nonce)) == nil {
			t.Errorf("%s: accepted", name)
		}
		if now := c.Now(id); time.Since(now).Abs() > time.Minute {
			t.Errorf("%s: it is %s", name, now)
		}
	}
}

func TestAnOldAnswerAgainDoesNotTurnTheTimeBack(t *testing.T) {
	c, id, up, nonce := asked()
	first := signed(t, told(t, nonce, nil), protocol.PurposeTime, key(1))
	if err := c.Answer(id, first); err != nil {
		t.Fatal(err)
	}
	if c.Answer(id, first) == nil {
		t.Error("the same answer is accepted twice")
	}
	*up += time.Hour
	for _, when := range []string{"with no question open", "to the next question"} {
		if c.Answer(id, first) == nil {
			t.Errorf("accepted %s", when)
		}
		if now := c.Now(id); !now.Equal(cloudTime.Add(time.Hour)) {
			t.Errorf("%s it is %s", when, now)
		}
		nonce = c.Ask()
	}
	// And the next answer counts, whatever the ones before said: no mistake of the cloud lasts.
	if err := c.Answer(id, signed(t, told(t, nonce, func(m *protocol.Time) { m.Now -= 1000 }), protocol.PurposeTime, key(1))); err != nil {
		t.Fatal(err)
	}
	if now := c.Now(id); !now.Equal(cloudTime.Add(-time.Second)) {
		t.Errorf("it is %s", now)
	}
}

func TestEveryQuestionHasItsOwnNonce(t *testing.T) {
	c := NewClock()
	if a, b := c.Ask(), c.Ask(); len(a) != protocol.TimeNonce || bytes.Equal(a, b) {
		t.Errorf("%x, then %x", a, b)
	}
	if c.uptime() < time.Since(c.start) {
		t.Error("the kernel is younger than this test")
	}
}
