package remedy

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// signed is a plan with the bytes that a device verifies.
type signed struct {
	protocol.Plan
	bytes []byte
}

// Plans are the plans that the service may select from. Each was signed by a key that it does not hold; it
// checks the signatures too, so that a plan no device would accept is refused at start and not at night.
type Plans struct{ list []signed }

// LoadPlans reads every *.plan of a folder, made by hearthctl, for one tenant. It returns an error that
// names the file for one that is malformed, expired, of another tenant or not by one of the keys. A folder
// that does not exist holds no plans.
func LoadPlans(dir, tenant string, trusted []ed25519.PublicKey, now time.Time) (*Plans, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &Plans{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load plans: %w", err)
	}
	p := &Plans{}
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".plan" {
			continue
		}
		path := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("load plans: %w", err)
		}
		if err := p.add(b, tenant, trusted, now); err != nil {
			return nil, fmt.Errorf("load plan %s: %w", path, err)
		}
	}
	p.sort()
	return p, nil
}

func (p *Plans) add(b []byte, tenant string, trusted []ed25519.PublicKey, now time.Time) error {
	payload, err := protocol.Verify(protocol.PurposePlan, b, trusted)
	if err != nil {
		return err
	}
	s := signed{bytes: b}
	if err := protocol.Unmarshal(payload, &s.Plan); err != nil {
		return err
	}
	if s.Tenant != tenant {
		return fmt.Errorf("it is for tenant %q, not %q", s.Tenant, tenant)
	}
	if now.Unix() >= s.NotAfter {
		return fmt.Errorf("it expired at %s", time.Unix(s.NotAfter, 0).UTC().Format(time.RFC3339))
	}
	if _, ok := p.byID(s.ID); ok {
		return fmt.Errorf("there is another plan with the id %q", s.ID)
	}
	p.list = append(p.list, s)
	return nil
}

// sort puts the gentle plans first: what cannot cut the uplink before what can, and else by id.
func (p *Plans) sort() {
	slices.SortFunc(p.list, func(a, b signed) int {
		if a.Confirm != b.Confirm {
			if b.Confirm {
				return -1
			}
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// IDs lists the plans.
func (p *Plans) IDs() []string {
	var out []string
	for _, s := range p.list {
		out = append(out, s.ID)
	}
	return out
}

func (p *Plans) byID(id string) (signed, bool) {
	if p == nil {
		return signed{}, false
	}
	for _, s := range p.list {
		if s.ID == id {
			return s, true
		}
	}
	return signed{}, false
}

// byVerb returns the plan for a verb that changes nothing on the device.
func (p *Plans) byVerb(v protocol.Verb) (signed, bool) {
	for _, s := range p.list {
		if s.Verb == v {
			return s, true
		}
	}
	return signed{}, false
}

// fitting returns the plans that repair one of the metrics, those that check more of them first. What a
// plan repairs is what it checks: the signed checks are the one source of that.
func (p *Plans) fitting(metrics []string, now time.Time) []signed {
	hits := func(s signed) (n int) {
		for _, c := range s.Checks {
			if slices.ContainsFunc(metrics, func(m string) bool { return sameSignal(m, c.Metric) }) {
				n++
			}
		}
		return n
	}
	var out []signed
	for _, s := range p.list {
		// One that needs consent waits for the day when consent to a fix can be asked for.
		if s.Verb == protocol.VerbFix && !s.Consent && now.Unix() < s.NotAfter && hits(s) > 0 {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b signed) int {
		if a.Confirm != b.Confirm {
			return 0 // gentle before thorough
		}
		return hits(b) - hits(a)
	})
	return out
}

// sameSignal tells whether a symptom's metric or a risk's feature is about a metric. Features are named
// after the metric they are made of, some without its unit: "dns_latency" is about "dns.latency_ms".
func sameSignal(name, metric string) bool {
	flat := func(s string) string { return strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToLower(s)) }
	n, m := flat(name), flat(metric)
	return n == m || len(n) > 3 && strings.HasPrefix(m, n+"_") || strings.HasPrefix(n, m+"_")
}
