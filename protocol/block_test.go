package protocol_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hearthline/hearthline/protocol"
)

func schemaOf(t testing.TB, scales ...int8) *protocol.Schema {
	t.Helper()
	var metrics []protocol.Metric
	for i, scale := range scales {
		metrics = append(metrics, protocol.Metric{Name: "m" + string(rune('a'+i)), Kind: protocol.Gauge, Scale: scale})
	}
	s, err := protocol.NewSchema(metrics)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBlockComesBackExactly(t *testing.T) {
	nan := math.NaN()
	for name, column := range map[string][]float64{
		"constant":                   {5, 5, 5, 5},
		"constant zero":              {0, 0, 0},
		"one row":                    {-3.25},
		"all missing":                {nan, nan, nan},
		"one missing":                {1, nan, 3},
		"only one present":           {nan, nan, 7.5, nan},
		"missing at both ends":       {nan, 1, 2, 4, nan},
		"steady slope":               {10, 20, 30, 40, 50, 60},
		"counter reset":              {1e12, 1e12 + 5, 1e12 + 9, 3, 8, 21},
		"noise around a mean":        {1000.5, 999.25, 1001, 998.75, 1000, 1000.25},
		"jumps between the extremes": {1 << 43, -(1 << 43), 1 << 43, 0, -(1 << 43)},
		"small among large":          {0, 0, 0, 0, 1e9, 0, 0, 0, 0},
		"negative":                   {-40.5, -41.25, -90, -40},
	} {
		t.Run(name, func(t *testing.T) {
			schema := schemaOf(t, 2)
			sealer, err := protocol.NewSealer(schema)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // the second shows that nothing of the first is left
				for i, v := range column {
					wall := int64(1_700_000_000_000) + int64(i)*1000
					if i > 2 {
						wall -= 86_400_000 // the clock is set back
					}
					if err := sealer.Add(&protocol.Sample{Mono: int64(i) * 1003, Wall: wall, Schema: schema, Values: []float64{v}}); err != nil {
						t.Fatal(err)
					}
				}
				got := reopen(t, sealer.Seal(), schema)
				if len(got) != len(column) {
					t.Fatalf("round %d: %d rows, want %d", round, len(got), len(column))
				}
				for i, want := range column {
					if v := got[i].Values[0]; v != want && !(math.IsNaN(v) && math.IsNaN(want)) {
						t.Errorf("row %d: %v, want %v", i, v, want)
					}
					if got[i].Mono != int64(i)*1003 {
						t.Errorf("row %d: mono %d", i, got[i].Mono)
					}
				}
			}
			if sealer.Seal() != nil {
				t.Error("an empty sealer sealed a block")
			}
		})
	}
}

func reopen(t testing.TB, b *protocol.Block, schema *protocol.Schema) []protocol.Sample {
	t.Helper()
	msg, err := protocol.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var back protocol.Block
	if err := protocol.Unmarshal(msg, &back); err != nil {
		t.Fatal(err)
	}
	got, err := back.Samples(schema)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRandomBlocksComeBackExactly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		scales := make([]int8, 1+rng.IntN(6))
		for i := range scales {
			scales[i] = int8(rng.IntN(16) - 6)
		}
		schema := schemaOf(t, scales...)
		sealer, err := protocol.NewSealer(schema)
		if err != nil {
			t.Fatal(err)
		}
		var want []protocol.Sample
		wild := rng.IntN(51)
		for i := range 1 + rng.IntN(100) {
			s := protocol.Sample{Mono: int64(i)*1000 + rng.Int64N(20), Wall: rng.Int64N(1 << 42), Schema: schema, Values: make([]float64, len(scales))}
			for m, scale := range scales {
				v := float64(rng.Int64N(1<<(1+rng.IntN(wild+1))) - rng.Int64N(1<<(1+rng.IntN(wild+1))))
				if v >= 1<<50 || v <= -(1<<50) {
					v = 0
				}
				s.Values[m] = scaled(v, scale)
				if rng.IntN(10) == 0 {
					s.Values[m] = math.NaN()
				}
			}
			if err := sealer.Add(&s); err != nil {
				t.Fatal(err)
			}
			want = append(want, s)
		}
		for i, got := range reopen(t, sealer.Seal(), schema) {
			if got.Wall != want[i].Wall || got.Mono != want[i].Mono {
				t.Fatalf("row %d: time %d/%d, want %d/%d", i, got.Mono, got.Wall, want[i].Mono, want[i].Wall)
			}
			for m, v := range got.Values {
				if w := want[i].Values[m]; v != w && !(math.IsNaN(v) && math.IsNaN(w)) {
					t.Fatalf("row %d metric %d scale %d: %v, want %v", i, m, scales[m], v, w)
				}
			}
		}
	}
}

// scaled is the float64 nearest to v * 10^-scale, as a driver that reads a decimal would have it.
func scaled(v float64, scale int8) float64 {
	if scale < 0 {
		return v * math.Pow10(-int(scale))
	}
	return v / math.Pow10(int(scale))
}

func TestWhatCannotBeExactIsMissing(t *testing.T) {
	schema := schemaOf(t, 3)
	sealer, _ := protocol.NewSealer(schema)
	bad := []float64{math.Inf(1), math.Inf(-1), 1e13, -1e300, math.NaN()}
	for _, v := range bad {
		if err := sealer.Add(&protocol.Sample{Schema: schema, Values: []float64{v}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range reopen(t, sealer.Seal(), schema) {
		if !math.IsNaN(s.Values[0]) {
			t.Errorf("%v came back as %v", bad[i], s.Values[0])
		}
	}
}

func TestSealerRefusesAnotherSchemaAndTooManyRows(t *testing.T) {
	one, two := schemaOf(t, 0), schemaOf(t, 0, 1)
	sealer, _ := protocol.NewSealer(one)
	if err := sealer.Add(&protocol.Sample{Schema: two, Values: []float64{1, 2}}); !errors.Is(err, protocol.ErrSchema) {
		t.Errorf("a sample of another schema: %v", err)
	}
	var err error
	for i := 0; err == nil && i <= protocol.MaxRows; i++ {
		err = sealer.Add(&protocol.Sample{Schema: one, Values: []float64{1}})
	}
	if !errors.Is(err, protocol.ErrFull) || sealer.Rows() != protocol.MaxRows {
		t.Errorf("after %d rows: %v", sealer.Rows(), err)
	}
	if _, err := sealer.Seal().Samples(two); !errors.Is(err, protocol.ErrSchema) {
		t.Errorf("decoding with another schema: %v", err)
	}
}

func TestSchemaIDFollowsItsContent(t *testing.T) {
	a, b := schemaOf(t, 1, 2), schemaOf(t, 1, 2)
	if a.ID != b.ID {
		t.Error("the same columns have two ids")
	}
	if c := schemaOf(t, 1, 3); c.ID == a.ID {
		t.Error("another scale has the same id")
	}
	a.ID++
	msg, _ := protocol.Marshal(a)
	if err := protocol.Unmarshal(msg, new(protocol.Schema)); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("a schema under a wrong id: %v", err)
	}
}

func FuzzBlock(f *testing.F) {
	schema := schemaOf(f, 0, 2, 3)
	sealer, _ := protocol.NewSealer(schema)
	for i := range 20 {
		v := float64(i * i)
		if i == 7 {
			v = math.NaN()
		}
		_ = sealer.Add(&protocol.Sample{Mono: int64(i) * 1000, Wall: int64(i) * 999, Schema: schema, Values: []float64{v, 5, -v / 8}})
	}
	b := sealer.Seal()
	f.Add(b.Data, uint16(b.Rows))
	f.Add([]byte{}, uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, rows uint16) {
		b := protocol.Block{Version: 1, Codec: protocol.CodecColumns, Schema: schema.ID, Rows: uint64(rows), Data: data}
		samples, err := b.Samples(schema)
		if err != nil {
			return
		}
		if len(samples) != int(rows) {
			t.Fatalf("%d samples of %d rows", len(samples), rows)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	schema := schemaOf(b, 0, 0, 1, 2, 3, 0, 0, 0)
	sealer, _ := protocol.NewSealer(schema)
	rng := rand.New(rand.NewPCG(1, 2))
	samples := make([]protocol.Sample, 60)
	for i := range samples {
		samples[i] = protocol.Sample{
			Mono: int64(i) * 1000, Wall: int64(i) * 1000, Schema: schema,
			Values: []float64{5, float64(i), rng.Float64() * 20, rng.Float64(), 1, float64(i) * 1500, float64(rng.IntN(5)), 0},
		}
	}
	for b.Loop() {
		for i := range samples {
			if err := sealer.Add(&samples[i]); err != nil {
				b.Fatal(err)
			}
		}
		sealer.Seal()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/480, "ns/value")
}
