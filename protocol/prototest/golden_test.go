package prototest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/prototest"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// A change of these files is a change of what devices in the field send and understand.
func TestEveryMessageHasTheBytesItAlwaysHad(t *testing.T) {
	for _, m := range prototest.Messages() {
		t.Run(m.Name, func(t *testing.T) {
			path := filepath.Join("testdata", m.Name+".hex")
			if *update {
				if err := os.WriteFile(path, []byte(wrap(hex.EncodeToString(m.Bytes))), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Bytes, want) {
				t.Errorf("encoded as %x, the golden vector is %x", m.Bytes, want)
			}
			again, err := m.Decode(want)
			if err != nil || !bytes.Equal(again, want) {
				t.Errorf("the golden vector comes back as %x (%v)", again, err)
			}
		})
	}
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 96 {
		b.WriteString(s[:96] + "\n")
		s = s[96:]
	}
	return b.String() + s + "\n"
}

func TestTheGoldenBlockDecodesToItsSamples(t *testing.T) {
	schema, want := prototest.Samples()
	for _, m := range prototest.Messages() {
		if m.Name != "block" {
			continue
		}
		var b protocol.Block
		if err := protocol.Unmarshal(m.Bytes, &b); err != nil {
			t.Fatal(err)
		}
		got, err := b.Samples(schema)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d samples, %v", len(got), err)
		}
		for i := range got {
			if got[i].Mono != want[i].Mono || got[i].Wall != want[i].Wall {
				t.Errorf("row %d at %d/%d", i, got[i].Mono, got[i].Wall)
			}
			for c, v := range got[i].Values {
				if w := want[i].Values[c]; v != w && !(math.IsNaN(v) && math.IsNaN(w)) {
					t.Errorf("row %d column %d: %v, want %v", i, c, v, w)
				}
			}
		}
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	ack := func(version, lane, epoch, committed any) []byte {
		b, err := cbor.Marshal(map[int]any{0: version, 1: lane, 2: epoch, 3: committed})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	deep := append(bytes.Repeat([]byte{0x81}, 40), 0x00)
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"nothing":                   {nil, protocol.ErrInvalid},
		"no CBOR":                   {[]byte("hello"), protocol.ErrInvalid},
		"cut off":                   {ack(1, 1, 7, 42)[:5], protocol.ErrInvalid},
		"bytes after the end":       {append(ack(1, 1, 7, 42), 0), protocol.ErrInvalid},
		"an unknown key":            {[]byte{0xa1, 0x18, 0x63, 0x01}, protocol.ErrInvalid},
		"a key twice":               {[]byte{0xa2, 0x00, 0x01, 0x00, 0x01}, protocol.ErrInvalid},
		"an indefinite length":      {[]byte{0xbf, 0x00, 0x01, 0xff}, protocol.ErrInvalid},
		"a tag":                     {append([]byte{0xc1}, ack(1, 1, 7, 42)...), protocol.ErrInvalid},
		"forty levels":              {deep, protocol.ErrInvalid},
		"a text for a number":       {ack(1, "event", 7, 42), protocol.ErrInvalid},
		"a negative sequence":       {ack(1, 1, 7, -1), protocol.ErrInvalid},
		"a lane that is none":       {ack(1, 3, 7, 42), protocol.ErrInvalid},
		"a version of tomorrow":     {ack(2, 1, 7, 42), protocol.ErrVersion},
		"a quarter MiB and a byte":  {make([]byte, protocol.MaxMessage+1), protocol.ErrInvalid},
		"an array of all the world": {[]byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, protocol.ErrInvalid},
	} {
		var a protocol.Ack
		if err := protocol.Unmarshal(c.bytes, &a); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := protocol.Unmarshal(ack(1, 1, 7, 42), new(protocol.Ack)); err != nil {
		t.Errorf("the well-formed one is refused too: %v", err)
	}
}

func TestASignatureCountsOnlyForItsPurposeAndByItsKey(t *testing.T) {
	for _, m := range prototest.Messages() {
		if !strings.HasSuffix(m.Name, "_signed") {
			continue
		}
		for i := range m.Bytes {
			bad := bytes.Clone(m.Bytes)
			bad[i] ^= 0x10
			if _, err := m.Decode(bad); err == nil {
				t.Errorf("%s with byte %d changed is accepted", m.Name, i)
			}
		}
	}
	plan, err := protocol.Sign(protocol.PurposePlan, []byte{0xa0}, prototest.CommandKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := protocol.Verify(protocol.PurposeCommand, plan, []ed25519.PublicKey{prototest.Public(prototest.CommandKey)}); !errors.Is(err, protocol.ErrSignature) {
		t.Errorf("a plan taken for a command: %v", err)
	}
	if _, err := protocol.Verify(protocol.PurposePlan, plan, []ed25519.PublicKey{prototest.Public(prototest.PlanKey)}); !errors.Is(err, protocol.ErrSignature) {
		t.Errorf("by another key: %v", err)
	}
}

func fuzz(f *testing.F, names ...string) {
	var decode func([]byte) ([]byte, error)
	for _, m := range prototest.Messages() {
		for _, n := range names {
			if m.Name == n {
				f.Add(m.Bytes)
				decode = m.Decode
			}
		}
	}
	if decode == nil {
		f.Fatalf("no example named %v", names)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := decode(b)
		if err != nil {
			return
		}
		third, err := decode(again) // what was accepted must come back as it was understood
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%x, then %x (%v)", again, third, err)
		}
	})
}

func FuzzBatch(f *testing.F)   { fuzz(f, "batch_event", "batch_telemetry") }
func FuzzEvent(f *testing.F)   { fuzz(f, "event", "event_risk", "event_diagnosis") }
func FuzzSchema(f *testing.F)  { fuzz(f, "schema") }
func FuzzBlock(f *testing.F)   { fuzz(f, "block") }
func FuzzGap(f *testing.F)     { fuzz(f, "gap") }
func FuzzAck(f *testing.F)     { fuzz(f, "ack") }
func FuzzState(f *testing.F)   { fuzz(f, "state") }
func FuzzSignal(f *testing.F)  { fuzz(f, "signal") }
func FuzzPlan(f *testing.F)    { fuzz(f, "plan") }
func FuzzCommand(f *testing.F) { fuzz(f, "command", "command_assist") }
func FuzzTime(f *testing.F)    { fuzz(f, "time") }

func FuzzTimeRequest(f *testing.F) { fuzz(f, "time-request") }

func FuzzVerify(f *testing.F) {
	for _, m := range prototest.Messages() {
		if strings.HasSuffix(m.Name, "_signed") {
			f.Add(m.Bytes)
		}
	}
	trusted := []ed25519.PublicKey{prototest.Public(prototest.CommandKey), prototest.Public(prototest.PlanKey)}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []protocol.Purpose{protocol.PurposeCommand, protocol.PurposePlan, protocol.PurposeModel, protocol.PurposeTime} {
			_, err := protocol.Verify(p, b, trusted)
			if err != nil && !errors.Is(err, protocol.ErrInvalid) && !errors.Is(err, protocol.ErrSignature) {
				t.Fatalf("%v", err)
			}
		}
	})
}

func FuzzTopic(f *testing.F) {
	f.Add("hl/1/acme/hub-1/up/event")
	f.Add("hl/1/acme/hub-1/state")
	f.Fuzz(func(t *testing.T, topic string) {
		tenant, device, channel, err := protocol.ParseTopic(topic)
		if err == nil && protocol.Topic(tenant, device, channel) != topic {
			t.Fatalf("%q is read as %q of %q, channel %q", topic, device, tenant, channel)
		}
	})
}
