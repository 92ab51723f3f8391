package remedy

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// choices returns the ways in which a plan can be chosen for a device, the best first, by what the device
// last reported. A plan without choices has one way. No way means that the device offers nothing the plan
// could change to.
func choices(p *protocol.Plan, last *protocol.Sample) []map[string]string {
	ways := []map[string]string{{}}
	for _, arg := range sortedKeys(p.Choices) {
		values := values(p, arg, last)
		var more []map[string]string
		for _, w := range ways {
			for _, v := range values {
				next := map[string]string{arg: v}
				for k, old := range w {
					next[k] = old
				}
				more = append(more, next)
			}
		}
		ways = more
	}
	return ways
}

// values lists what an argument of a plan may be on this device, the best first.
func values(p *protocol.Plan, arg string, last *protocol.Sample) []string {
	allowed := p.Choices[arg]
	allows := func(v string) bool { return slices.Contains(allowed, v) || slices.Contains(allowed, "*") }
	var found []string
	switch {
	case p.Action.Kind == "dns.switch" && arg == "resolver":
		found = resolvers(last, bound(p, "dns.latency_ms", 100), bound(p, "dns.failure_ratio", 0.1))
	case p.Action.Kind == "uplink.failover" && arg == "target":
		found = uplinks(last, false)
	case (p.Action.Kind == "interface.bounce" || p.Action.Kind == "dhcp.renew") && arg == "target":
		found = uplinks(last, true)
	}
	found = slices.DeleteFunc(found, func(v string) bool { return !allows(v) })
	if len(found) > 0 || last != nil && reports(last, p.Action.Kind) {
		return found // the device said what there is, even if that is nothing
	}
	// The device has not reported what there is to choose from: the plan's own list, in its own order.
	return slices.DeleteFunc(slices.Clone(allowed), func(v string) bool { return v == "*" })
}

// reports tells whether a sample holds what a choice for this kind of action is made by.
func reports(s *protocol.Sample, kind string) bool {
	metric := map[string]string{
		"dns.switch": "dns.active", "uplink.failover": "route.default", "interface.bounce": "route.default", "dhcp.renew": "route.default",
	}[kind]
	return slices.ContainsFunc(s.Schema.Metrics, func(m protocol.Metric) bool { return m.Name == metric })
}

// resolvers lists the name servers that answer well and are not in use, the fastest first.
func resolvers(s *protocol.Sample, maxLatency, maxFailures float64) []string {
	if s == nil {
		return nil
	}
	type server struct {
		ip      string
		latency float64
	}
	var out []server
	for i, m := range s.Schema.Metrics {
		if m.Name != "dns.latency_ms" {
			continue
		}
		latency := s.Values[i]
		failures, active := get(s, "dns.failure_ratio", m.Instance), get(s, "dns.active", m.Instance)
		if math.IsNaN(latency) || latency > maxLatency || failures > maxFailures || active > 0 {
			continue
		}
		out = append(out, server{m.Instance, latency})
	}
	slices.SortFunc(out, func(a, b server) int { return cmp.Compare(a.latency, b.latency) })
	var ips []string
	for _, o := range out {
		ips = append(ips, o.ip)
	}
	return ips
}

// uplinks lists the interfaces that carry the default route, or those that could.
func uplinks(s *protocol.Sample, inUse bool) []string {
	if s == nil {
		return nil
	}
	var out []string
	for i, m := range s.Schema.Metrics {
		if m.Name != "route.default" || math.IsNaN(s.Values[i]) || (s.Values[i] > 0) != inUse {
			continue
		}
		if !inUse && get(s, "iface.carrier", m.Instance) == 0 {
			continue
		}
		out = append(out, m.Instance)
	}
	return out
}

// get is Sample.Get for exactly this instance.
func get(s *protocol.Sample, name, instance string) float64 {
	for i, m := range s.Schema.Metrics {
		if m.Name == name && m.Instance == instance {
			return s.Values[i]
		}
	}
	return math.NaN()
}

// bound is the highest value that a plan's check allows a metric, or otherwise.
func bound(p *protocol.Plan, metric string, otherwise float64) float64 {
	for _, c := range p.Checks {
		if c.Metric == metric && c.Max != nil {
			return *c.Max
		}
	}
	return otherwise
}

// describe writes a choice in one line; the same choice always reads the same.
func describe(choice map[string]string) string {
	var parts []string
	for _, k := range sortedKeys(choice) {
		parts = append(parts, k+"="+choice[k])
	}
	return strings.Join(parts, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// choose returns the best fix that was not tried, or a reason why there is none.
func (r *Remedy) choose(tx store.Tx, c *episode) (p signed, choice map[string]string, reason string, err error) {
	plans := r.Plans[tx.Tenant()]
	if plans == nil {
		return p, nil, "no_plan", nil
	}
	metrics := c.Metrics
	if len(c.Focus) > 0 {
		metrics = c.Focus
	}
	fits := plans.fitting(metrics, r.now())
	if len(fits) == 0 {
		return p, nil, "no_plan", nil
	}
	if len(c.Tried) >= MaxFixes {
		return p, nil, "all_tried", nil
	}
	failed, err := r.failed(tx, c)
	if err != nil {
		return p, nil, "", err
	}
	last, err := r.Latest(tx, c.Home, c.Device)
	if err != nil {
		return p, nil, "", err
	}
	reason = "no_choice"
	for _, p := range fits {
		for _, choice := range choices(&p.Plan, last) {
			if slices.Contains(failed, attempt{p.ID, describe(choice), true}) {
				reason = "all_tried"
				continue
			}
			return p, choice, "", nil
		}
	}
	return p, nil, reason, nil
}

// failed lists what was tried in vain: in this case, or on this device not long ago.
func (r *Remedy) failed(tx store.Tx, c *episode) (out []attempt, err error) {
	for _, t := range c.Tried {
		out = append(out, attempt{t.Plan, t.Choice, true}) // tried is enough, within one case
	}
	for old, err := range episodes.Scan(tx, store.Range{Prefix: store.Key{c.Home, c.Device}, From: r.now().Add(-FailureMemory)}) {
		if err != nil {
			return nil, err
		}
		for _, t := range old.Tried {
			if t.Failed {
				out = append(out, t)
			}
		}
	}
	return out, nil
}
