package linux

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// inquiry is a diagnosis on its way.
type inquiry struct {
	d    *Driver
	ctx  context.Context //nolint:containedctx // lives as long as the call of Diagnose
	req  protocol.DiagnosisRequest
	tell func(protocol.Step)
	done []protocol.Step
}

// kind is one kind of diagnosis: which arguments it takes, and how it is done.
type kind struct {
	target string // what the target is; empty when it takes none
	args   []string
	look   func(q *inquiry) (protocol.Verdict, error)
}

var kinds = map[string]kind{
	"ping":       {target: "a host name or IPv4 address", args: []string{"count"}, look: (*inquiry).ping},
	"traceroute": {target: "a host name or IPv4 address", args: []string{"hops"}, look: (*inquiry).traceroute},
	"dns":        {target: "the name to ask for", look: (*inquiry).dns},
	"dhcp":       {target: "an interface", look: (*inquiry).dhcp},
	"http":       {target: "an http or https address", look: (*inquiry).http},
	"interface":  {target: "an interface", look: (*inquiry).ifaces},
	"wifi":       {target: "an interface", args: []string{"scan"}, look: (*inquiry).wifi},
	"speed":      {args: []string{"seconds"}, look: (*inquiry).speed},
	"connection": {look: (*inquiry).connection},
}

// Diagnose looks into something. Bad requests are refused before anything is sent.
func (d *Driver) Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error) {
	k, ok := kinds[req.Kind]
	if !ok {
		names := make([]string, 0, len(kinds))
		for n := range kinds {
			names = append(names, n)
		}
		sort.Strings(names)
		return protocol.Diagnosis{}, argument("kind", "%q; want %s", req.Kind, strings.Join(names, ", "))
	}
	if req.Target != "" && k.target == "" {
		return protocol.Diagnosis{}, argument("target", "%s takes none, got %q", req.Kind, req.Target)
	}
	for name := range req.Args {
		if !slices.Contains(k.args, name) {
			return protocol.Diagnosis{}, argument("args."+name, "unknown; want %s", orNone(strings.Join(k.args, ", ")))
		}
	}
	q := &inquiry{d: d, ctx: ctx, req: req, tell: step}
	v, err := k.look(q)
	if err != nil {
		return protocol.Diagnosis{}, err
	}
	if err := ctx.Err(); err != nil {
		return protocol.Diagnosis{}, fmt.Errorf("linux: diagnose %s: %w", req.Kind, err)
	}
	return protocol.Diagnosis{Request: req, Steps: q.done, Verdict: v}, nil
}

// add records a finding and tells it at once. began is when the step was started.
func (q *inquiry) add(began time.Time, s protocol.Step) {
	s.TookMS = time.Since(began).Milliseconds()
	if len(q.done) < protocol.MaxSteps {
		q.done = append(q.done, s)
		if q.tell != nil {
			q.tell(s)
		}
	}
}

// number reads an argument between least and most; absent means usual.
func (q *inquiry) number(name string, usual, least, most int) (int, error) {
	text, ok := q.req.Args[name]
	if !ok {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, argument("args."+name, "%q; want %d to %d", text, least, most)
	}
	return n, nil
}

// host resolves the target, or the host that is probed by default.
func (q *inquiry) host() (netip.Addr, error) {
	if q.req.Target == "" {
		if !q.d.opts.Probe.IsValid() {
			return netip.Addr{}, argument("target", "is empty, and no host on the internet is configured; want a host name or IPv4 address")
		}
		return q.d.opts.Probe, nil
	}
	if err := checkName(q.req.Target); err != nil {
		return netip.Addr{}, argument("target", "%v", err)
	}
	began := time.Now()
	ip, err := lookup(q.ctx, q.d.resolvers(), q.req.Target)
	if err == nil && !ip.Is4() {
		err = fmt.Errorf("%s is no IPv4 address", ip)
	}
	if err != nil {
		q.add(began, protocol.Step{Name: "dns.lookup", Target: q.req.Target, Status: protocol.StatusFail, Code: "not.found", Args: map[string]string{"error": err.Error()}})
	}
	return ip, nil
}

// resolvers are the configured ones, read anew.
func (d *Driver) resolvers() []netip.Addr {
	file := resolverFile{path: d.resolver.path}
	return file.active()
}

func (q *inquiry) ping() (protocol.Verdict, error) {
	n, err := q.number("count", 10, 1, 50)
	if err != nil {
		return protocol.Verdict{}, err
	}
	to, err := q.host()
	if err != nil {
		return protocol.Verdict{}, err
	}
	if !to.IsValid() {
		return verdict(protocol.SegmentUnknown, "name.not.found", "name", q.req.Target), nil
	}
	s := q.pings("ping", to, n)
	return pingVerdict(s, to), nil
}

// pings sends n pings and records them as one step.
func (q *inquiry) pings(name string, to netip.Addr, n int) series {
	began := time.Now()
	s := repeat(q.ctx, n, 100*time.Millisecond, pings(to))
	status, code := protocol.StatusOK, ""
	switch {
	case s.answered == 0:
		status, code = protocol.StatusFail, codeOf(s.last)
	case s.answered < s.sent:
		status, code = protocol.StatusWarn, "loss"
	}
	q.add(began, protocol.Step{Name: name, Target: to.String(), Status: status, Code: code, Args: s.args()})
	return s
}

func (s series) args() map[string]string {
	args := map[string]string{"sent": strconv.Itoa(s.sent), "answered": strconv.Itoa(s.answered), "loss_ratio": decimal(s.loss(), 3)}
	if s.answered > 0 {
		args["rtt_min_ms"], args["rtt_ms"], args["rtt_max_ms"] = millis(s.least), millis(s.mean), millis(s.most)
	}
	return args
}

func pingVerdict(s series, to netip.Addr) protocol.Verdict {
	switch {
	case s.answered == 0:
		return verdict(protocol.SegmentUnknown, "host."+codeOf(s.last), "host", to.String())
	case s.answered < s.sent:
		return verdict(protocol.SegmentUnknown, "host.loss", "host", to.String(), "loss_ratio", decimal(s.loss(), 3))
	}
	return verdict(protocol.SegmentNone, "host.reachable", "host", to.String(), "rtt_ms", millis(s.mean))
}

func (q *inquiry) traceroute() (protocol.Verdict, error) {
	hops, err := q.number("hops", 20, 1, 30)
	if err != nil {
		return protocol.Verdict{}, err
	}
	to, err := q.host()
	if err != nil {
		return protocol.Verdict{}, err
	}
	if !to.IsValid() {
		return verdict(protocol.SegmentUnknown, "name.not.found", "name", q.req.Target), nil
	}
	silent, last := 0, ""
	for ttl := 1; ttl <= hops && silent < 5; ttl++ {
		began := time.Now()
		var e echo
		var err error
		for range 2 { // one lost packet is no silent router
			if e, err = ping(q.ctx, to, ttl, 800*time.Millisecond); err == nil || q.ctx.Err() != nil {
				break
			}
		}
		s := protocol.Step{Name: "hop", Args: map[string]string{"hop": strconv.Itoa(ttl)}}
		switch {
		case err == nil:
			silent = 0
			s.Target, s.Status = e.from.String(), protocol.StatusOK
			s.Args["rtt_ms"] = millis(e.took)
			last = s.Target
		case e.from.IsValid():
			s.Target, s.Status, s.Code = e.from.String(), protocol.StatusFail, codeOf(err)
			last = s.Target
		default:
			silent++
			s.Status, s.Code = protocol.StatusWarn, codeOf(err)
		}
		q.add(began, s)
		if q.ctx.Err() != nil || err == nil && !e.hop {
			break
		}
		if e.from.IsValid() && err != nil {
			return verdict(protocol.SegmentUnknown, "path.ends", "last", last), nil
		}
	}
	if last == to.String() {
		return verdict(protocol.SegmentNone, "host.reachable", "host", last), nil
	}
	return verdict(protocol.SegmentUnknown, "path.ends", "last", orNone(last)), nil
}

func (q *inquiry) dns() (protocol.Verdict, error) {
	name := q.req.Target
	if name == "" {
		name = q.d.opts.ProbeName
	}
	if err := checkName(name); err != nil {
		return protocol.Verdict{}, argument("target", "%v", err)
	}
	return q.resolversVerdict(name), nil
}

// resolverIsSlow is how long an answer may take before a person notices.
const resolverIsSlow = 200 * time.Millisecond

// resolversVerdict asks the resolvers in use and, when one of them is bad, the alternatives.
func (q *inquiry) resolversVerdict(name string) protocol.Verdict {
	active := q.d.resolvers()
	if len(active) == 0 {
		q.add(time.Now(), protocol.Step{Name: "dns.query", Status: protocol.StatusFail, Code: "none.configured"})
		return verdict(protocol.SegmentDevice, "resolver.none")
	}
	var bad series
	var badAddr netip.Addr
	good := 0
	for _, r := range active {
		s := q.queries(r, name)
		if s.answered < s.sent || s.mean > resolverIsSlow {
			if !badAddr.IsValid() {
				bad, badAddr = s, r
			}
			continue
		}
		good++
	}
	if !badAddr.IsValid() {
		return verdict(protocol.SegmentNone, "all.well")
	}
	v := protocol.Verdict{Segment: q.resolverSegment(badAddr), Args: map[string]string{"resolver": badAddr.String(), "working": strconv.Itoa(good)}}
	switch {
	case bad.answered == 0:
		v.Code = "resolver.dead"
	case bad.answered < bad.sent:
		v.Code, v.Args["loss_ratio"] = "resolver.unreliable", decimal(bad.loss(), 3)
	default:
		v.Code, v.Args["latency_ms"] = "resolver.slow", millis(bad.mean)
	}
	for _, a := range q.d.opts.Alternatives {
		if slices.Contains(active, a) {
			continue
		}
		if s := q.queries(a, name); s.answered == s.sent && s.mean <= resolverIsSlow {
			v.Args["better"] = a.String()
			break
		}
	}
	return v
}

// resolverSegment: a resolver with a private address is in the home, another one belongs to the provider.
func (q *inquiry) resolverSegment(a netip.Addr) protocol.Segment {
	switch {
	case a.IsLoopback():
		return protocol.SegmentDevice
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return protocol.SegmentHome
	}
	return protocol.SegmentISP
}

func (q *inquiry) queries(r netip.Addr, name string) series {
	began := time.Now()
	s := repeat(q.ctx, 4, 250*time.Millisecond, querier(r, name))
	status, code := protocol.StatusOK, ""
	switch {
	case s.answered == 0:
		status, code = protocol.StatusFail, codeOf(s.last)
	case s.answered < s.sent:
		status, code = protocol.StatusWarn, "loss"
	case s.mean > resolverIsSlow:
		status, code = protocol.StatusWarn, "slow"
	}
	args := map[string]string{"sent": strconv.Itoa(s.sent), "answered": strconv.Itoa(s.answered), "name": name}
	if s.answered > 0 {
		args["latency_ms"], args["latency_max_ms"] = millis(s.mean), millis(s.most)
	}
	q.add(began, protocol.Step{Name: "dns.query", Target: r.String(), Status: status, Code: code, Args: args})
	return s
}

// verdict builds a verdict; args are names and values in turn.
func verdict(seg protocol.Segment, code string, args ...string) protocol.Verdict {
	v := protocol.Verdict{Segment: seg, Code: code}
	if len(args) > 0 {
		v.Args = map[string]string{}
	}
	for i := 0; i+1 < len(args); i += 2 {
		v.Args[args[i]] = args[i+1]
	}
	return v
}

// codeOf turns the outcome of a probe into a message key.
func codeOf(err error) string {
	switch err {
	case nil:
		return ""
	case errTimeout:
		return "timeout"
	case errUnreachable:
		return "unreachable"
	case errForbidden:
		return "not.permitted"
	case errServfail:
		return "servfail"
	}
	return "error"
}

func millis(d time.Duration) string { return decimal(float64(d)/1e6, 2) }

func decimal(v float64, digits int) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// unsupported says what this hardware or configuration lacks.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", bridge.ErrUnsupported, fmt.Sprintf(format, args...))
}
