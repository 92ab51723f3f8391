// Package ingest measures durable ingest: our broker, ingest and store against the path that one would
// build from parts, mosquitto -> paho with manual acknowledgement -> bbolt in group commits.
//
// Both get the same records from the same devices, decode them, index them by device, and tell the device
// with one cumulative ack after each commit; a device keeps a window of records unacknowledged. Rounds
// alternate, so that whatever else the machine does falls on both; the result is the ratio of each pair
// of rounds and their median. Servers run in processes of their own, whose processor time is read when
// they end.
package ingest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/protocol"
)

// Tenant is whose devices the lab's are.
const Tenant = "lab"

func deviceID(i int) string { return fmt.Sprintf("d%05d", i) }

// Batch returns a batch of one telemetry record of about 300 bytes, as the devices of the lab send it.
func Batch(first uint64) protocol.Batch {
	metrics := []protocol.Metric{
		{Name: "gateway.rtt_ms", Kind: protocol.Gauge, Scale: 2},
		{Name: "wan.rtt_ms", Kind: protocol.Gauge, Scale: 2},
		{Name: "dns.latency_ms", Kind: protocol.Gauge, Scale: 2},
		{Name: "iface.rx_bytes", Kind: protocol.Counter},
	}
	schema, err := protocol.NewSchema(metrics)
	if err != nil {
		panic(err) // constants above
	}
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		panic(err)
	}
	for i := range int64(60) { // a minute at one second, with some movement
		v := float64(i * i % 17)
		sealer.Add(&protocol.Sample{Mono: 1000 * i, Wall: 1.8e12 + 1000*i, Schema: schema, Values: []float64{1.2 + v/50, 14 + v/7, 21 + v/3, float64(i) * 1500}})
	}
	body, err := protocol.Marshal(sealer.Seal())
	if err != nil {
		panic(err)
	}
	return protocol.Batch{
		Version: protocol.Version, Epoch: 1, First: first, Boot: 1, SentMono: 61_000, SentWall: 1.8e12 + 61_000,
		Records: []protocol.Record{{Kind: protocol.KindBlock, Boot: 1, Mono: 60_000, Wall: 1.8e12 + 60_000, Span: 1, Body: body}},
	}
}

// Round is one measurement of one path.
type Round struct {
	Path        string  `json:"path"` // "hearthline" or "mosquitto"
	TLS         bool    `json:"tls"`
	PerSecond   float64 `json:"records_per_second"`
	CPUMicros   float64 `json:"cpu_us_per_record"`         // of the servers
	DevicesCPU  float64 `json:"devices_cpu_us_per_record"` // of the devices, which share the machine
	AckP50Milli float64 `json:"ack_p50_ms"`
	AckP99Milli float64 `json:"ack_p99_ms"`
}

// Report is the result of a run.
type Report struct {
	Devices     int       `json:"devices"`
	Window      int       `json:"window"`
	Seconds     float64   `json:"seconds"`
	RecordBytes int       `json:"record_bytes"`
	Rounds      []Round   `json:"rounds"`
	Ratios      []float64 `json:"ratios_tls_off,omitempty"`
	Median      float64   `json:"median_ratio_tls_off,omitempty"`
	RatiosTLS   []float64 `json:"ratios_tls_on,omitempty"`
	MedianTLS   float64   `json:"median_ratio_tls_on,omitempty"`
}

type options struct {
	devices, window, rounds int
	seconds                 float64
	against, tls, dir       string
	profile                 string
	inflight                int
	json                    bool
}

// Run is the tool "ingest".
func Run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	fs := flag.NewFlagSet("ingest", flag.ContinueOnError)
	var o options
	fs.IntVar(&o.devices, "devices", 200, "devices that send at once")
	fs.IntVar(&o.window, "window", 20, "records that each keeps unacknowledged")
	fs.Float64Var(&o.seconds, "seconds", 10, "measured time of a round, after one second of warming up")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds of each path, alternating")
	fs.StringVar(&o.against, "against", "mosquitto", "what to compare with: mosquitto, or none")
	fs.StringVar(&o.tls, "tls", "both", "off, on or both")
	fs.StringVar(&o.dir, "dir", "", "where the stores are put; empty: a temporary folder")
	fs.IntVar(&o.inflight, "inflight", 20, "mosquitto's max_inflight_messages towards the ingest process: 20 is its default, 0 no limit")
	fs.StringVar(&o.profile, "cpuprofile", "", "file for a processor profile of our last round")
	fs.BoolVar(&o.json, "json", false, "print JSON only")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if o.devices < 1 || o.window < 1 || o.rounds < 1 || o.seconds <= 0 || !slices.Contains([]string{"off", "on", "both"}, o.tls) || !slices.Contains([]string{"mosquitto", "none"}, o.against) {
		return errors.New("want --devices, --window, --rounds and --seconds above 0, --tls off, on or both, --against mosquitto or none")
	}
	root, err := os.MkdirTemp(o.dir, "hearth-lab-ingest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	rep := Report{Devices: o.devices, Window: o.window, Seconds: o.seconds, RecordBytes: len(Batch(1).Records[0].Body)}
	for _, secure := range []bool{false, true} {
		if o.tls == "off" && secure || o.tls == "on" && !secure {
			continue
		}
		var ratios []float64
		for n := range o.rounds {
			ours, err := o.round(ctx, filepath.Join(root, fmt.Sprint("h", n, secure)), "hearthline", secure)
			if err != nil {
				return fmt.Errorf("hearthline, round %d: %w", n+1, err)
			}
			rep.Rounds = append(rep.Rounds, ours)
			o.print(ours)
			if o.against == "none" {
				continue
			}
			theirs, err := o.round(ctx, filepath.Join(root, fmt.Sprint("m", n, secure)), "mosquitto", secure)
			if err != nil {
				return fmt.Errorf("mosquitto, round %d: %w", n+1, err)
			}
			rep.Rounds = append(rep.Rounds, theirs)
			o.print(theirs)
			ratios = append(ratios, ours.PerSecond/theirs.PerSecond)
		}
		if len(ratios) == 0 {
			continue
		}
		if secure {
			rep.RatiosTLS, rep.MedianTLS = ratios, median(ratios)
		} else {
			rep.Ratios, rep.Median = ratios, median(ratios)
		}
		if !o.json {
			fmt.Printf("tls %-5t ratio per round %.2f, median %.2f\n", secure, ratios, median(ratios))
		}
	}
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(rep)
	}
	return nil
}

func (o *options) print(r Round) {
	if !o.json {
		fmt.Printf("tls %-5t %-10s %9.0f records/s  %5.1f us cpu/record and %.1f of the devices  ack p50 %7.1f ms  p99 %7.1f ms\n",
			r.TLS, r.Path, r.PerSecond, r.CPUMicros, r.DevicesCPU, r.AckP50Milli, r.AckP99Milli)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 1 {
		return v[n/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// round measures one path once, on fresh stores.
func (o *options) round(ctx context.Context, dir, path string, secure bool) (Round, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Round{}, err
	}
	defer os.RemoveAll(dir)
	authority, err := ca.Open(ca.Options{Dir: dir})
	if err != nil {
		return Round{}, err
	}
	var procs []*exec.Cmd
	defer func() { stopAll(procs) }()
	args := []string{"ingest", "serve", "hearthline", "--dir", dir, "--devices", strconv.Itoa(o.devices), "--tls=" + strconv.FormatBool(secure), "--cpuprofile", o.profile}
	var addr string
	if path == "mosquitto" {
		m, inner, outer, err := startMosquitto(ctx, dir, authority, secure, o.inflight)
		if err != nil {
			return Round{}, err
		}
		procs = append(procs, m)
		addr = outer
		args = []string{"ingest", "serve", "baseline", "--dir", dir, "--broker", inner}
	}
	p, ready, _, err := startSelf(ctx, args)
	if err != nil {
		return Round{}, err
	}
	procs = append(procs, p)
	if addr == "" {
		addr = ready
	}
	l := &load{addr: addr, window: o.window}
	for i := range o.devices {
		d := device{id: deviceID(i)}
		if secure {
			if d.tls, err = clientTLS(authority, d.id); err != nil {
				return Round{}, err
			}
		}
		l.devices = append(l.devices, d)
	}
	const warm = time.Second
	res, err := l.run(ctx, warm, time.Duration(o.seconds*float64(time.Second)))
	if err != nil {
		return Round{}, err
	}
	cpu := stopAll(procs)
	procs = nil
	total := float64(res.Records) * (o.seconds + warm.Seconds()) / o.seconds // the servers' time includes warming up
	return Round{
		Path: path, TLS: secure,
		PerSecond:   float64(res.Records) / o.seconds,
		CPUMicros:   float64(cpu.Microseconds()) / total,
		DevicesCPU:  float64(res.CPU.Microseconds()) / total,
		AckP50Milli: float64(res.P50.Microseconds()) / 1000,
		AckP99Milli: float64(res.P99.Microseconds()) / 1000,
	}, nil
}

// stopAll ends processes and returns the processor time they used.
func stopAll(procs []*exec.Cmd) (cpu time.Duration) {
	for i := len(procs) - 1; i >= 0; i-- {
		p := procs[i]
		p.Process.Signal(syscall.SIGTERM)
		p.Wait()
		cpu += p.ProcessState.UserTime() + p.ProcessState.SystemTime()
	}
	return cpu
}

// startSelf starts this program as a server and waits until it is ready. out is what it says after that.
func startSelf(ctx context.Context, args []string) (p *exec.Cmd, addr string, out *bufio.Reader, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", nil, err
	}
	p = exec.CommandContext(ctx, self, args...)
	p.Stderr = os.Stderr
	pipe, err := p.StdoutPipe()
	if err != nil {
		return nil, "", nil, err
	}
	if err := p.Start(); err != nil {
		return nil, "", nil, err
	}
	out = bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		stopAll([]*exec.Cmd{p})
		return nil, "", nil, fmt.Errorf("server did not get ready: %q %w", line, err)
	}
	return p, addr, out, nil
}

func clientTLS(authority *ca.CA, id string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	chain, err := authority.Issue(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), ca.Identity{Tenant: Tenant, Device: id})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(chain))
	return &tls.Config{
		RootCAs: authority.Pool(), ServerName: "127.0.0.1",
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
	}, nil
}

// startMosquitto starts the broker of the baseline: an inner listener for the ingest process and, with
// TLS, an outer one for the devices.
func startMosquitto(ctx context.Context, dir string, authority *ca.CA, secure bool, inflight int) (p *exec.Cmd, inner, outer string, err error) {
	inner, err = freePort()
	if err != nil {
		return nil, "", "", err
	}
	outer = inner
	port := func(a string) string { return a[strings.LastIndexByte(a, ':')+1:] }
	conf := "per_listener_settings false\nallow_anonymous true\nmax_inflight_messages " + strconv.Itoa(inflight) + "\nmax_queued_messages 0\nset_tcp_nodelay true\npersistence false\nlog_dest none\n" +
		"listener " + port(inner) + " 127.0.0.1\n"
	if secure {
		if outer, err = freePort(); err != nil {
			return nil, "", "", err
		}
		cert, err := authority.ServerCertificate("127.0.0.1")
		if err != nil {
			return nil, "", "", err
		}
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			return nil, "", "", err
		}
		for name, b := range map[string][]byte{
			"m-ca.pem":   authority.PEM(),
			"m-cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
			"m-key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				return nil, "", "", err
			}
		}
		conf += fmt.Sprintf("listener %s 127.0.0.1\ncafile %[2]s/m-ca.pem\ncertfile %[2]s/m-cert.pem\nkeyfile %[2]s/m-key.pem\nrequire_certificate true\n", port(outer), dir)
	}
	if os.Geteuid() == 0 {
		conf += "user root\n" // else it cannot read its files here
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, "", "", err
	}
	name, err := exec.LookPath("mosquitto")
	if err != nil {
		name = "/usr/sbin/mosquitto"
	}
	p = exec.CommandContext(ctx, name, "-c", file)
	if err := p.Start(); err != nil {
		return nil, "", "", fmt.Errorf("start mosquitto (Debian package mosquitto): %w", err)
	}
	for range 100 {
		c, err := net.Dial("tcp", outer)
		if err == nil {
			c.Close()
			return p, inner, outer, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stopAll([]*exec.Cmd{p})
	return nil, "", "", fmt.Errorf("mosquitto does not listen on %s", outer)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
