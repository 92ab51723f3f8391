package linux

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// Fresh measurements of a check.
const (
	checkPings   = 10
	checkQueries = 5
	checkSpacing = 50 * time.Millisecond
)

// Check measures anew and says whether the condition holds; a value that cannot be measured does not.
// For dns metrics an empty instance means every resolver in use, and a query that is not answered counts
// in dns.latency_ms with the two seconds it was waited for.
func (d *Driver) Check(ctx context.Context, c protocol.Check) (bool, error) {
	if c.Min == nil && c.Max == nil {
		return false, argument("check", "neither min nor max is set")
	}
	values, err := d.measure(ctx, c)
	if err != nil {
		return false, err
	}
	for _, v := range values {
		if math.IsNaN(v) || c.Min != nil && v < *c.Min || c.Max != nil && v > *c.Max {
			return false, nil
		}
	}
	return len(values) > 0, nil
}

func (d *Driver) measure(ctx context.Context, c protocol.Check) ([]float64, error) {
	role, what, _ := strings.Cut(c.Metric, ".")
	switch {
	case role == "dns" && (what == "latency_ms" || what == "failure_ratio"):
		file := resolverFile{path: d.resolver.path}
		resolvers := file.active()
		if c.Instance != "" {
			ip, err := netip.ParseAddr(c.Instance)
			if err != nil || !slices.Contains(append(resolvers, d.opts.Alternatives...), ip) {
				return nil, argument("check.instance", "%q is no resolver of this device", c.Instance)
			}
			resolvers = []netip.Addr{ip}
		}
		var values []float64
		for _, r := range resolvers {
			s := repeat(ctx, checkQueries, checkSpacing, querier(r, d.opts.ProbeName))
			v := s.value(what == "failure_ratio")
			if what == "latency_ms" {
				// Whoever asked waited for the lost ones too: a lucky answer among them is no proof.
				v = (v*float64(s.answered) + float64(s.sent-s.answered)*float64(dnsTimeout.Milliseconds())) / float64(s.sent)
			}
			values = append(values, v)
		}
		return values, nil
	case what == "rtt_ms" || what == "loss_ratio" || what == "reachable":
		addr, err := d.pathTarget(ctx, role)
		if err != nil {
			return nil, err
		}
		if !addr.IsValid() {
			return []float64{math.NaN()}, nil
		}
		s := repeat(ctx, checkPings, checkSpacing, pings(addr))
		if what == "reachable" {
			return []float64{truth(s.answered > 0)}, nil
		}
		return []float64{s.value(what == "loss_ratio")}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var sample protocol.Sample
	if err := d.take(ctx, &sample); err != nil {
		return nil, err
	}
	var values []float64
	for i, m := range sample.Schema.Metrics {
		if m.Name == c.Metric && (c.Instance == "" || m.Instance == c.Instance) {
			values = append(values, sample.Values[i])
		}
	}
	if values == nil {
		return nil, argument("check.metric", "this device has no %s%s", c.Metric, braces(c.Instance))
	}
	return values, nil
}

func braces(s string) string {
	if s == "" {
		return ""
	}
	return "{" + s + "}"
}

// pathTarget is what the metrics of a role are measured against; the zero Addr when it cannot be told.
func (d *Driver) pathTarget(ctx context.Context, role string) (netip.Addr, error) {
	switch role {
	case "gateway":
		v, err := readView(d.nl)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("linux: check: %w", err)
		}
		def, _ := v.defaultRoute()
		return def.Gateway, nil
	case "wan":
		if !d.opts.Probe.IsValid() {
			return netip.Addr{}, fmt.Errorf("%w: no host on the internet is configured to be probed", bridge.ErrUnsupported)
		}
		return d.opts.Probe, nil
	case "cloud":
		host, _, err := net.SplitHostPort(d.opts.Cloud)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("%w: no cloud is configured", bridge.ErrUnsupported)
		}
		file := resolverFile{path: d.resolver.path}
		addr, err := lookup(ctx, file.active(), host)
		if err != nil || !addr.Is4() {
			return netip.Addr{}, nil
		}
		return addr, nil
	}
	return netip.Addr{}, argument("check.metric", "%q is unknown", role)
}

// series is the outcome of some probes in a row.
type series struct {
	sent, answered    int
	least, mean, most time.Duration // of the answers
	last              error         // of the last failure
}

// value is the loss, or the mean of the answers in milliseconds.
func (s series) value(loss bool) float64 {
	switch {
	case s.sent == 0:
		return math.NaN()
	case loss:
		return s.loss()
	case s.answered == 0:
		return math.NaN()
	}
	return float64(s.mean) / 1e6
}

func (s series) loss() float64 { return float64(s.sent-s.answered) / float64(max(s.sent, 1)) }

// repeat asks n times, a new one every spacing without waiting for the last one's answer.
func repeat(ctx context.Context, n int, spacing time.Duration, ask func(context.Context) (time.Duration, error)) series {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var s series
	tick := time.NewTicker(spacing)
	defer tick.Stop()
	for i := range n {
		if i > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			took, err := ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			s.sent++
			if err != nil {
				s.last = err
				return
			}
			if s.answered == 0 || took < s.least {
				s.least = took
			}
			s.answered++
			s.most = max(s.most, took)
			s.mean += took
		})
	}
	wg.Wait()
	if s.answered > 0 {
		s.mean /= time.Duration(s.answered)
	}
	return s
}
