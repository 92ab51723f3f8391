package remotewrite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/telemetry/remotewrite"
	"github.com/hearthline/hearthline/protocol"
)

// startPrometheus starts a real one with its remote write receiver.
func startPrometheus(t *testing.T) (base string) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(conf, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := exec.Command("prometheus", "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--web.enable-remote-write-receiver", "--log.level=error")
	p.Stderr = t.Output()
	if err := p.Start(); err != nil {
		t.Fatalf("prometheus (Debian package prometheus): %v", err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	base = "http://" + addr
	await(t, "prometheus is ready", func() bool {
		resp, err := http.Get(base + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	return base
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}

func TestARealPrometheusTakesTelemetryAndShowsItAsMeasured(t *testing.T) {
	base := startPrometheus(t)
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db"), MapBytes: 64 << 20}, telemetry.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	schema, err := protocol.NewSchema([]protocol.Metric{{Name: "wifi.rssi_dbm", Instance: "wlan0", Kind: protocol.Gauge, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(30) {
		sealer.Add(&protocol.Sample{Mono: i * 1000, Wall: i * 1000, Schema: schema, Values: []float64{-60.5 - float64(i)}})
	}
	body, err := protocol.Marshal(sealer.Seal())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), "acme", func(tx store.Tx) error { return telemetry.Keeper{}.PutSchema(tx, "home1", "hub1", schema) })
	if err != nil {
		t.Fatal(err)
	}

	e, err := remotewrite.New(remotewrite.Options{DB: db, URL: base + "/api/v1/write"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	from := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	good := cloud.Block{Home: "home1", Device: "hub1", From: from, To: from.Add(30 * time.Second), Bytes: body}
	e.Take("acme", []cloud.Block{{Home: "home1", Device: "hub1", Bytes: []byte("no block")}, good})
	await(t, "the samples are taken", func() bool { return e.Stats().Samples.Load() == 30 })
	if n := e.Stats().Unread.Load(); n != 1 {
		t.Errorf("%d blocks unread, want the one that is none", n)
	}

	query := `hearthline_wifi_rssi_dbm{tenant="acme",home="home1",device="hub1",instance="wlan0"}[5m]`
	resp, err := http.Get(base + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data.Result) != 1 || len(answer.Data.Result[0].Values) != 30 {
		t.Fatalf("prometheus shows %+v", answer)
	}
	first := answer.Data.Result[0].Values[0]
	if first[1] != "-60.5" || fmt.Sprintf("%.3f", first[0]) != fmt.Sprintf("%.3f", float64(from.UnixMilli())/1000) {
		t.Errorf("first sample %v, want -60.5 at %s", first, from)
	}

	// A block that is older than what is there: some clusters refuse it, and nothing stands still for that.
	old := good
	old.From = from.Add(-24 * time.Hour)
	later := good
	later.From = from.Add(35 * time.Second)
	e.Take("acme", []cloud.Block{old})
	await(t, "the old block is refused", func() bool { return e.Stats().Refused.Load() == 1 })
	e.Take("acme", []cloud.Block{later})
	await(t, "the next block is taken", func() bool { return e.Stats().Samples.Load() == 60 })
}
