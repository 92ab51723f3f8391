// Package remotewrite copies telemetry to a metrics cluster (Prometheus, Mimir, VictoriaMetrics ...) in
// Prometheus remote write 1.0, for those who have one. The store remains the place where telemetry is:
// what the cluster does not take in time, or refuses, is counted and left out there.
//
// A metric gateway.rtt_ms of a device becomes
//
//	hearthline_gateway_rtt_ms{device="hub1", home="h1", instance="eth0", tenant="acme"}
package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
)

// Options configures an Exporter. DB and URL are required.
type Options struct {
	DB     store.DB     // for the schemas that blocks refer to
	URL    string       // such as http://prometheus:9090/api/v1/write
	Client *http.Client // nil means one with a timeout of 30 s
	Queue  int          // blocks that may wait; 0 means 4,096
	Logger *slog.Logger // nil discards
}

// Exporter copies blocks. Its methods are safe for concurrent use.
type Exporter struct {
	opts  Options
	log   *slog.Logger
	queue chan item
	stats Stats
}

type item struct {
	tenant string
	block  cloud.Block
}

// Stats counts what happened since the start.
type Stats struct {
	Samples atomic.Int64 // taken by the cluster
	Missed  atomic.Int64 // blocks that came while the queue was full
	Refused atomic.Int64 // requests that the cluster will not take: out of order, say
	Unread  atomic.Int64 // blocks that could not be decoded
}

// New checks the options and starts nothing.
func New(opts Options) (*Exporter, error) {
	if opts.DB == nil || opts.URL == "" {
		return nil, errors.New("remote write: DB and URL are required")
	}
	if opts.Client == nil {
		opts.Client = &http.Client{Timeout: 30 * time.Second}
	}
	if opts.Queue == 0 {
		opts.Queue = 4096
	}
	e := &Exporter{opts: opts, log: opts.Logger, queue: make(chan item, opts.Queue)}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	return e, nil
}

// Stats returns the live counters.
func (e *Exporter) Stats() *Stats { return &e.stats }

// Take queues committed blocks. It never blocks.
func (e *Exporter) Take(tenant string, blocks []cloud.Block) {
	for _, b := range blocks {
		select {
		case e.queue <- item{tenant, b}:
		default:
			e.stats.Missed.Add(1)
		}
	}
}

// maxBlocks bounds one request.
const maxBlocks = 64

// Run sends until ctx ends, and returns nil. A cluster that cannot be reached is tried again, with what
// waits meanwhile bounded by the queue.
func (e *Exporter) Run(ctx context.Context) error {
	for {
		var items []item
		select {
		case it := <-e.queue:
			items = append(items, it)
		case <-ctx.Done():
			return nil
		}
	gather:
		for len(items) < maxBlocks {
			select {
			case it := <-e.queue:
				items = append(items, it)
			default:
				break gather
			}
		}
		var request []byte
		samples := 0
		for _, it := range items {
			b, n, err := e.encode(ctx, it)
			if err != nil {
				e.stats.Unread.Add(1)
				e.log.Warn("telemetry not exported", "tenant", it.tenant, "device", it.block.Device, "error", err)
				continue
			}
			request, samples = append(request, b...), samples+n
		}
		if samples > 0 {
			e.send(ctx, request, samples)
		}
	}
}

// send posts one request until it is taken or refused.
func (e *Exporter) send(ctx context.Context, request []byte, samples int) {
	body := snappy.Encode(nil, request)
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		again, err := e.post(ctx, body)
		switch {
		case err == nil:
			e.stats.Samples.Add(int64(samples))
			return
		case ctx.Err() != nil:
			return
		case !again:
			e.stats.Refused.Add(1)
			e.log.Warn("metrics cluster refuses telemetry", "error", err)
			return
		}
		e.log.Warn("metrics cluster does not answer, trying again", "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (e *Exporter) post(ctx context.Context, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.opts.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := e.opts.Client.Do(r)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	return resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(why))
}

// Fields of the messages of remote write 1.0 (prometheus/prompb/remote.proto and types.proto).
const (
	fieldTimeSeries = 1 // of WriteRequest
	fieldLabels     = 1 // of TimeSeries
	fieldSamples    = 2 // of TimeSeries
	fieldName       = 1 // of Label
	fieldText       = 2 // of Label
	fieldValue      = 1 // of Sample
	fieldTimestamp  = 2 // of Sample
)

// encode turns a block into time series, one for each metric.
func (e *Exporter) encode(ctx context.Context, it item) (request []byte, samples int, err error) {
	var block protocol.Block
	if err := protocol.Unmarshal(it.block.Bytes, &block); err != nil {
		return nil, 0, err
	}
	var schema *protocol.Schema
	err = e.opts.DB.View(ctx, it.tenant, func(tx store.Tx) (err error) {
		schema, err = telemetry.Keeper{}.Schema(tx, it.block.Home, it.block.Device, block.Schema)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("schema of a block: %w", err)
	}
	rows, err := block.Samples(schema)
	if err != nil {
		return nil, 0, err
	}
	from := it.block.From.UnixMilli()
	for m, metric := range schema.Metrics {
		series := labels(it, metric)
		n := 0
		for i := range rows {
			v := rows[i].Values[m]
			if math.IsNaN(v) {
				continue
			}
			var s []byte
			s = protowire.AppendTag(s, fieldValue, protowire.Fixed64Type)
			s = protowire.AppendFixed64(s, math.Float64bits(v))
			s = protowire.AppendTag(s, fieldTimestamp, protowire.VarintType)
			s = protowire.AppendVarint(s, uint64(from+rows[i].Mono-block.Mono))
			series = protowire.AppendTag(series, fieldSamples, protowire.BytesType)
			series = protowire.AppendBytes(series, s)
			n++
		}
		if n > 0 {
			request = protowire.AppendTag(request, fieldTimeSeries, protowire.BytesType)
			request = protowire.AppendBytes(request, series)
			samples += n
		}
	}
	return request, samples, nil
}

// labels begins a time series; they have to stand in order of their names.
func labels(it item, m protocol.Metric) (series []byte) {
	for _, l := range [][2]string{
		{"__name__", "hearthline_" + name(m.Name)},
		{"device", it.block.Device},
		{"home", it.block.Home},
		{"instance", m.Instance},
		{"tenant", it.tenant},
	} {
		if l[1] == "" {
			continue
		}
		var b []byte
		b = protowire.AppendTag(b, fieldName, protowire.BytesType)
		b = protowire.AppendString(b, l[0])
		b = protowire.AppendTag(b, fieldText, protowire.BytesType)
		b = protowire.AppendString(b, l[1])
		series = protowire.AppendTag(series, fieldLabels, protowire.BytesType)
		series = protowire.AppendBytes(series, b)
	}
	return series
}

// name makes a metric's name one that Prometheus allows.
func name(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
}
