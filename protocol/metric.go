package protocol

import (
	"fmt"
	"math"
)

// Metric describes one column of samples.
type Metric struct {
	Name     string     `cbor:"0,keyasint"`           // with its unit: "gateway.rtt_ms", "wifi.rssi_dbm"
	Instance string     `cbor:"1,keyasint,omitempty"` // which one: an interface, a resolver; may be empty
	Kind     MetricKind `cbor:"2,keyasint"`
	Scale    int8       `cbor:"3,keyasint"` // decimal digits kept after the point, -6 to 9; quantisation is 10^-Scale
}

// String is the name with the instance in braces, where there is one: "dns.latency_ms{192.168.1.1}". Models and
// recordings know a metric by it.
func (m Metric) String() string {
	if m.Instance == "" {
		return m.Name
	}
	return m.Name + "{" + m.Instance + "}"
}

// MetricKind says how values relate to each other.
type MetricKind uint8

// A gauge may take any value; a counter only grows until it is reset.
const (
	Gauge   MetricKind = 1
	Counter MetricKind = 2
)

// Schema names the columns of the blocks that refer to it, until a new one is sent.
type Schema struct {
	Version uint64   `cbor:"0,keyasint"`
	ID      uint64   `cbor:"1,keyasint"` // content hash of Metrics, as NewSchema makes it; Block.Schema refers to it
	Metrics []Metric `cbor:"2,keyasint"`
}

// MaxMetrics bounds a schema: a hub with eight interfaces and four resolvers has about 120.
const MaxMetrics = 512

// Sample is one reading of all metrics of a schema. It is not safe for concurrent use.
type Sample struct {
	Mono   int64 // milliseconds on the monotonic clock since the agent's start
	Wall   int64 // milliseconds since 1970 by the device's clock
	Schema *Schema
	Values []float64 // in the order of Schema.Metrics; NaN is a missing value
}

// Get returns the value of a metric, or NaN when the sample has none of that name and instance.
// An empty instance matches the first of that name.
func (s *Sample) Get(name, instance string) float64 {
	for i := range s.Schema.Metrics {
		m := &s.Schema.Metrics[i]
		if m.Name == name && (instance == "" || m.Instance == instance) {
			return s.Values[i]
		}
	}
	return math.NaN()
}

func (s *Schema) check() error {
	if err := checkVersion("schema", s.Version); err != nil {
		return err
	}
	if n := len(s.Metrics); n == 0 || n > MaxMetrics {
		return fmt.Errorf("%w: schema has %d metrics, want 1 to %d", ErrInvalid, n, MaxMetrics)
	}
	if id := schemaID(s.Metrics); s.ID != id {
		return fmt.Errorf("%w: schema has id %x, its metrics hash to %x", ErrInvalid, s.ID, id)
	}
	for i := range s.Metrics {
		m := &s.Metrics[i]
		if m.Name == "" || len(m.Name) > MaxID || len(m.Instance) > MaxID {
			return fmt.Errorf("%w: metric %d has a name of %d and an instance of %d bytes, limit %d", ErrInvalid, i, len(m.Name), len(m.Instance), MaxID)
		}
		if m.Kind != Gauge && m.Kind != Counter {
			return fmt.Errorf("%w: metric %s has unknown kind %d", ErrInvalid, m.Name, m.Kind)
		}
		if m.Scale < -6 || m.Scale > 9 {
			return fmt.Errorf("%w: metric %s has scale %d, want -6 to 9", ErrInvalid, m.Name, m.Scale)
		}
	}
	return nil
}
