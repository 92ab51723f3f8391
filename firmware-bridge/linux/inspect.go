package linux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
)

// links are the interfaces that the request names: the target, or all.
func (q *inquiry) links(v *view) ([]rtnl.Link, error) {
	all := v.interfaces()
	if q.req.Target == "" {
		return all, nil
	}
	var names []string
	for _, l := range all {
		if l.Name == q.req.Target {
			return []rtnl.Link{l}, nil
		}
		names = append(names, l.Name)
	}
	return nil, argument("target", "%q is no interface of this device; want %s", q.req.Target, orNone(strings.Join(names, ", ")))
}

func (q *inquiry) view() (view, error) {
	v, err := readView(q.d.nl)
	if err != nil {
		return v, fmt.Errorf("linux: diagnose %s: %w", q.req.Kind, err)
	}
	return v, nil
}

func (q *inquiry) ifaces() (protocol.Verdict, error) {
	v, err := q.view()
	if err != nil {
		return protocol.Verdict{}, err
	}
	links, err := q.links(&v)
	if err != nil {
		return protocol.Verdict{}, err
	}
	result := verdict(protocol.SegmentNone, "all.well")
	for _, l := range links {
		if code := q.iface(&v, l); code != "" && result.Segment == protocol.SegmentNone {
			result = verdict(protocol.SegmentDevice, code, "interface", l.Name)
			if code == "interface.no.carrier" {
				result.Segment = protocol.SegmentHome // the cable, or the box at its other end
			}
		}
	}
	return result, nil
}

// iface records the state of one interface and returns what is wrong with it.
func (q *inquiry) iface(v *view, l rtnl.Link) (code string) {
	began := time.Now()
	s := protocol.Step{Name: "interface.state", Target: l.Name, Status: protocol.StatusOK, Args: map[string]string{
		"rx_bytes": strconv.FormatUint(l.Stats.RxBytes, 10), "tx_bytes": strconv.FormatUint(l.Stats.TxBytes, 10),
		"rx_errors": strconv.FormatUint(l.Stats.RxErrors, 10), "tx_errors": strconv.FormatUint(l.Stats.TxErrors, 10),
		"rx_drops": strconv.FormatUint(l.Stats.RxDropped, 10), "tx_drops": strconv.FormatUint(l.Stats.TxDropped, 10),
	}}
	if mbps := decimal(speed(l.Name), 0); mbps != "" {
		s.Args["speed_mbps"] = mbps
	}
	if a := v.address(l.Index); a.IsValid() {
		s.Args["address"] = a.String()
	}
	switch {
	case !l.Up:
		code = "interface.down"
	case !l.Carrier:
		code = "interface.no.carrier"
	case !v.address(l.Index).IsValid():
		code = "interface.no.address"
	}
	if code != "" {
		s.Status, s.Code = protocol.StatusFail, strings.TrimPrefix(code, "interface.")
	}
	q.add(began, s)
	return code
}

func (q *inquiry) dhcp() (protocol.Verdict, error) {
	v, err := q.view()
	if err != nil {
		return protocol.Verdict{}, err
	}
	if q.req.Target == "" {
		if def, ok := v.defaultRoute(); ok {
			q.req.Target = v.name(def.Index)
		}
	}
	links, err := q.links(&v)
	if err != nil {
		return protocol.Verdict{}, err
	}
	if len(links) == 0 {
		return protocol.Verdict{}, unsupported("this device has no interface")
	}
	l := links[0]
	began := time.Now()
	lease, leased := v.lease(l.Index)
	if leased {
		q.add(began, protocol.Step{Name: "dhcp.lease", Target: l.Name, Status: protocol.StatusOK, Args: map[string]string{
			"address": lease.Prefix.String(), "age_s": decimal(lease.Age.Seconds(), 0), "left_s": decimal(lease.Valid.Seconds(), 0),
		}})
	} else {
		q.add(began, protocol.Step{Name: "dhcp.lease", Target: l.Name, Status: protocol.StatusWarn, Code: "none"})
	}
	began = time.Now()
	ctx, cancel := context.WithTimeout(q.ctx, 4*time.Second)
	defer cancel()
	offer, err := DiscoverLease(ctx, l.Name)
	if err != nil {
		code := "error"
		if errors.Is(err, ErrNoServer) {
			code = "timeout"
		}
		q.add(began, protocol.Step{Name: "dhcp.discover", Target: l.Name, Status: protocol.StatusFail, Code: code, Args: map[string]string{"error": clip(err.Error())}})
		return verdict(protocol.SegmentHome, "dhcp.server.gone", "interface", l.Name), nil
	}
	args := map[string]string{"server": offer.Server.String(), "address": offer.Addr.String(), "lease_s": decimal(offer.Duration.Seconds(), 0), "latency_ms": millis(offer.Answered)}
	if offer.Gateway.IsValid() {
		args["gateway"] = offer.Gateway.String()
	}
	q.add(began, protocol.Step{Name: "dhcp.discover", Target: l.Name, Status: protocol.StatusOK, Args: args})
	if !leased {
		return verdict(protocol.SegmentDevice, "dhcp.no.lease", "interface", l.Name), nil
	}
	return verdict(protocol.SegmentNone, "all.well"), nil
}

func (q *inquiry) http() (protocol.Verdict, error) {
	address := q.req.Target
	if address == "" {
		address = q.d.opts.WebURL
	}
	u, err := webAddress(address)
	if err != nil {
		return protocol.Verdict{}, err
	}
	code, status := q.fetch(u)
	if code != "" {
		return verdict(protocol.SegmentUnknown, "http."+code, "address", u.Redacted(), "status", strconv.Itoa(status)), nil
	}
	return verdict(protocol.SegmentNone, "host.reachable", "host", u.Host), nil
}

// webAddress accepts plain web addresses outside of the device.
func webAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || checkName(u.Hostname()) != nil {
		return nil, argument("target", "%q; want http:// or https:// and a host name or IPv4 address, without a user", clip(s))
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return nil, argument("target", "%q is this device itself; want a host elsewhere", clip(s))
	}
	return u, nil
}

// client resolves with the configured resolvers, as everything here does, and follows no redirects:
// a page that answers instead of the one that was asked for is a finding.
func (q *inquiry) client(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				ip, err := lookup(ctx, q.d.resolvers(), host)
				if err != nil {
					return nil, err
				}
				if ip.IsLoopback() || ip.IsUnspecified() {
					return nil, fmt.Errorf("%s is this device itself", host)
				}
				var d net.Dialer
				return d.DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
			},
		},
	}
}

// fetch gets a page and records it. code is empty when the answer was a good one.
func (q *inquiry) fetch(u *url.URL) (code string, status int) {
	began := time.Now()
	s := protocol.Step{Name: "http.get", Target: u.Redacted(), Status: protocol.StatusOK, Args: map[string]string{}}
	defer func() {
		if s.Code = code; code != "" {
			s.Status = protocol.StatusFail
		}
		q.add(began, s)
	}()
	req, err := http.NewRequestWithContext(q.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "error", 0
	}
	c := q.client(6 * time.Second)
	defer c.CloseIdleConnections()
	r, err := c.Do(req)
	if err != nil {
		s.Args["error"] = clip(err.Error())
		var certErr *tls.CertificateVerificationError
		switch {
		case errors.As(err, &certErr):
			return "certificate", 0
		case isTimeout(err):
			return "timeout", 0
		}
		return "unreachable", 0
	}
	defer r.Body.Close()
	n, _ := io.Copy(io.Discard, io.LimitReader(r.Body, 64<<10))
	s.Args["status"], s.Args["bytes"] = strconv.Itoa(r.StatusCode), strconv.FormatInt(n, 10)
	switch {
	case r.StatusCode >= 500:
		return "server.error", r.StatusCode
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return "redirect", r.StatusCode
	}
	return "", r.StatusCode
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func (q *inquiry) speed() (protocol.Verdict, error) {
	seconds, err := q.number("seconds", 3, 1, 10)
	if err != nil {
		return protocol.Verdict{}, err
	}
	if q.d.opts.SpeedURL == "" {
		return protocol.Verdict{}, unsupported("no address to measure speed with is configured")
	}
	u, err := url.Parse(q.d.opts.SpeedURL)
	if err != nil {
		return protocol.Verdict{}, unsupported("the address to measure speed with is malformed: %v", err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(q.ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	s := protocol.Step{Name: "speed.download", Target: u.Redacted(), Status: protocol.StatusOK, Args: map[string]string{}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return protocol.Verdict{}, unsupported("the address to measure speed with is malformed: %v", err)
	}
	c := q.client(0)
	defer c.CloseIdleConnections()
	r, err := c.Do(req)
	if err != nil || r.StatusCode != http.StatusOK {
		if err == nil {
			r.Body.Close()
			err = fmt.Errorf("status %d", r.StatusCode)
		}
		s.Status, s.Code, s.Args["error"] = protocol.StatusFail, "unreachable", clip(err.Error())
		q.add(began, s)
		return verdict(protocol.SegmentUnknown, "speed.unknown"), nil
	}
	defer r.Body.Close()
	start := time.Now()
	n, _ := io.Copy(io.Discard, r.Body) // ends with the file or with the time
	took := time.Since(start)
	mbps := decimal(float64(n)*8/1e6/max(took.Seconds(), 1e-3), 2)
	s.Args["bytes"], s.Args["mbit_per_s"] = strconv.FormatInt(n, 10), mbps
	q.add(began, s)
	return verdict(protocol.SegmentNone, "speed.measured", "mbit_per_s", mbps), nil
}

func (q *inquiry) wifi() (protocol.Verdict, error) {
	scan := q.req.Args["scan"]
	if !slices.Contains([]string{"", "yes", "no"}, scan) {
		return protocol.Verdict{}, argument("args.scan", "%q; want yes or no", scan)
	}
	v, err := q.view()
	if err != nil {
		return protocol.Verdict{}, err
	}
	links, err := q.links(&v)
	if err != nil {
		return protocol.Verdict{}, err
	}
	if q.d.wifi == nil {
		return protocol.Verdict{}, unsupported("this device has no Wi-Fi")
	}
	found := false
	result := verdict(protocol.SegmentNone, "all.well")
	q.d.mu.Lock()
	q.d.wifi.refresh(v.interfaces())
	stations := q.d.wifi.stations
	q.d.mu.Unlock()
	for _, l := range links {
		st, ok := stations[l.Index]
		if !ok {
			continue
		}
		found = true
		s := protocol.Step{Name: "wifi.link", Target: l.Name, Status: protocol.StatusOK, Args: map[string]string{
			"rssi_dbm": decimal(st.rssi, 0), "bitrate_mbps": decimal(st.bitrate, 1), "retries": decimal(st.retries, 0), "beacon_loss": decimal(st.beaconLoss, 0),
		}}
		if st.rssi < weakSignal {
			s.Status, s.Code = protocol.StatusWarn, "weak"
			result = verdict(protocol.SegmentHome, "wifi.weak", "interface", l.Name, "rssi_dbm", decimal(st.rssi, 0))
		}
		q.add(time.Now(), s)
		if scan != "no" {
			q.scan(l)
		}
	}
	if !found {
		return protocol.Verdict{}, unsupported("this device has no Wi-Fi, or it is not connected")
	}
	return result, nil
}

const weakSignal = -75 // dBm; below, many access points and clients begin to repeat themselves

// scan lists the strongest access points around.
func (q *inquiry) scan(l rtnl.Link) {
	began := time.Now()
	if err := q.d.wifi.scan(l.Index); err == nil {
		select {
		case <-time.After(4 * time.Second): // 2.4 and 5 GHz take three to four seconds
		case <-q.ctx.Done():
		}
	}
	list, err := q.d.wifi.scanned(l.Index)
	if err != nil {
		q.add(began, protocol.Step{Name: "wifi.scan", Target: l.Name, Status: protocol.StatusSkipped, Code: "error", Args: map[string]string{"error": clip(err.Error())}})
		return
	}
	slices.SortFunc(list, func(a, b access) int { return int(b.dbm - a.dbm) })
	for _, a := range list[:min(len(list), 12)] {
		q.add(began, protocol.Step{Name: "wifi.heard", Target: l.Name, Status: protocol.StatusOK, Args: map[string]string{
			"ssid": a.ssid, "mhz": strconv.Itoa(a.mhz), "rssi_dbm": decimal(a.dbm, 0), "ours": strconv.FormatBool(a.current),
		}})
	}
}

func clip(s string) string { return s[:min(len(s), 200)] }
