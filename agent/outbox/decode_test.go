package outbox

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/hearthline/hearthline/protocol"
)

// The checksum is made right, so that what lies behind it is reached.
func FuzzDecode(f *testing.F) {
	v, err := encode(&protocol.Record{Kind: protocol.KindEvent, Boot: 1, Mono: 2, Wall: 3, Span: 1, Body: []byte{0xa0}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(v[4:])
	f.Fuzz(func(t *testing.T, body []byte) {
		v := append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)), body...)
		rec, err := decode(v)
		if err != nil {
			return
		}
		again, err := encode(&rec)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again)
		if err != nil || !bytes.Equal(back.Body, rec.Body) || back.Span != rec.Span {
			t.Errorf("%+v came back as %+v, %v", rec, back, err)
		}
	})
}
