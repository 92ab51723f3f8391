package protocol

import "fmt"

// DiagnosisRequest asks a device to look into something; it changes nothing.
type DiagnosisRequest struct {
	Kind   string            `cbor:"0,keyasint" json:"kind"` // "ping", "traceroute", "dns", "dhcp", "http", "interface", "wifi", "speed" or "connection"
	Target string            `cbor:"1,keyasint,omitempty" json:"target,omitempty"`
	Args   map[string]string `cbor:"2,keyasint,omitempty" json:"args,omitempty"`
}

// Status of a step.
type Status string

// A step went well, well with a remark, badly, or was not needed or possible.
const (
	StatusOK      Status = "ok"
	StatusWarn    Status = "warn"
	StatusFail    Status = "fail"
	StatusSkipped Status = "skipped"
)

// Step is one finding of a diagnosis. Name and Code are message keys; Args fill them.
type Step struct {
	Name   string            `cbor:"0,keyasint" json:"name"` // what was tried: "gateway.ping", "dns.query", ...
	Target string            `cbor:"1,keyasint,omitempty" json:"target,omitempty"`
	Status Status            `cbor:"2,keyasint" json:"status"`
	Code   string            `cbor:"3,keyasint,omitempty" json:"code,omitempty"` // why, when not ok: "timeout", "unreachable", "servfail", ...
	Args   map[string]string `cbor:"4,keyasint,omitempty" json:"args,omitempty"` // measured values; units are in the names
	TookMS int64             `cbor:"5,keyasint" json:"took_ms"`
}

// Segment is the part of the path from the home to us that a verdict blames.
type Segment string

// The segments, from the inside out.
const (
	SegmentNone    Segment = "none" // nothing is wrong
	SegmentDevice  Segment = "device"
	SegmentHome    Segment = "home" // the home network: router, Wi-Fi, local resolver
	SegmentISP     Segment = "isp"
	SegmentCloud   Segment = "cloud" // our own service
	SegmentUnknown Segment = "unknown"
)

// Verdict is where the path breaks and why.
type Verdict struct {
	Segment Segment           `cbor:"0,keyasint" json:"segment"`
	Code    string            `cbor:"1,keyasint" json:"code"` // message key: "resolver.slow", "uplink.loss", "all.well", ...
	Args    map[string]string `cbor:"2,keyasint,omitempty" json:"args,omitempty"`
}

// Diagnosis is the structured result of a DiagnosisRequest.
type Diagnosis struct {
	Request DiagnosisRequest `cbor:"0,keyasint" json:"request"`
	Steps   []Step           `cbor:"1,keyasint" json:"steps"`
	Verdict Verdict          `cbor:"2,keyasint" json:"verdict"`
}

// MaxSteps bounds a diagnosis: a traceroute of 30 hops and the rest of `connection` fit.
const MaxSteps = 64

func (r *DiagnosisRequest) check() error {
	if err := CheckID("diagnosis kind", r.Kind); err != nil {
		return err
	}
	if len(r.Target) > 253 {
		return fmt.Errorf("%w: diagnosis target is %d bytes, limit 253 (a DNS name)", ErrInvalid, len(r.Target))
	}
	return checkArgs("diagnosis", r.Args)
}

func (d *Diagnosis) check() error {
	if err := d.Request.check(); err != nil {
		return err
	}
	if len(d.Steps) > MaxSteps {
		return fmt.Errorf("%w: diagnosis has %d steps, limit %d", ErrInvalid, len(d.Steps), MaxSteps)
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		switch s.Status {
		case StatusOK, StatusWarn, StatusFail, StatusSkipped:
		default:
			return fmt.Errorf("%w: step %d has status %q", ErrInvalid, i, clip(string(s.Status)))
		}
		if err := checkArgs("step", s.Args); err != nil {
			return err
		}
	}
	switch d.Verdict.Segment {
	case SegmentNone, SegmentDevice, SegmentHome, SegmentISP, SegmentCloud, SegmentUnknown:
	default:
		return fmt.Errorf("%w: verdict blames %q", ErrInvalid, clip(string(d.Verdict.Segment)))
	}
	return checkArgs("verdict", d.Verdict.Args)
}
