package protocol

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// examples are messages of the quick kinds with bodies of every kind.
func examples(t testing.TB) [][]byte {
	t.Helper()
	body := func(v any) cbor.RawMessage {
		b, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	block := &Block{Version: Version, Codec: CodecColumns, Schema: 1<<63 + 5, Rows: 60, Mono: 61_000, Wall: -1, Data: bytes.Repeat([]byte{7}, 300)}
	event := &Event{
		Version: Version, Kind: EventRisk, Args: map[string]string{"a": "b"},
		Risk: &Risk{Model: "m", Probability: 0.1, Reasons: []Reason{{Feature: "f", Value: 1e9, Normal: 0.5, Share: 1.0 / 3}}, Window: []byte{1}},
	}
	batch := &Batch{
		Version: Version, Epoch: 7, First: 70_000, Boot: 300, SentMono: 1 << 40, SentWall: -1 << 40,
		Records: []Record{
			{Kind: KindBlock, Boot: 300, Mono: -5, Wall: 5, Span: 1, Body: body(block)},
			{Kind: KindEvent, Boot: 1, Span: 1, Body: body(event)},
			{Kind: KindGap, Span: 1 << 20, Body: body(&Gap{Records: 1 << 20, Reason: "quota"})},
		},
	}
	return [][]byte{
		body(batch), body(block), body(&Ack{Version: Version, Lane: LaneTelemetry, Epoch: 1 << 40, Committed: 24}),
	}
}

// messages returns one empty message of each quick kind.
func messages() []quick { return []quick{new(Batch), new(Block), new(Ack)} }

func TestWhatMarshalWritesIsReadWithoutReflection(t *testing.T) {
	for i, b := range examples(t) {
		if m := messages()[i]; !m.quick(b) {
			t.Errorf("%T is left to the general decoder", m)
		}
	}
}

// FuzzQuick holds the quick decoders against the general one: what they accept, it accepts with the same values.
func FuzzQuick(f *testing.F) {
	for _, b := range examples(f) {
		f.Add(b)
		for i := range b { // somewhere in every field, a head of another form
			for _, c := range []byte{0x00, 0x17, 0x18, 0x1b, 0x38, 0x40, 0x5f, 0x7b, 0x81, 0xa1, 0xbf, 0xc1, 0xf6, 0xf8, 0xf9} {
				bad := bytes.Clone(b)
				bad[i] = c
				f.Add(bad)
			}
			if i == 60 {
				break
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		general := messages()
		for i, m := range messages() {
			if !m.quick(b) {
				continue
			}
			if err := decMode.Unmarshal(b, general[i]); err != nil {
				t.Fatalf("%x: quickly read as %+v, in general %v", b, m, err)
			}
			if !reflect.DeepEqual(m, general[i]) {
				t.Fatalf("%x: quickly %+v, in general %+v", b, m, general[i])
			}
		}
	})
}

func BenchmarkUnmarshalBatch(b *testing.B) {
	block := examples(b)[1]
	in, err := Marshal(&Batch{Version: Version, Epoch: 7, First: 70_000, Boot: 300, SentMono: 1 << 40, SentWall: 1 << 40, Records: []Record{{Kind: KindBlock, Boot: 300, Mono: 61_000, Wall: 1 << 40, Span: 1, Body: block}}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	var batch Batch
	for b.Loop() {
		if err := Unmarshal(in, &batch); err != nil {
			b.Fatal(err)
		}
	}
}
