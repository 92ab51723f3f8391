package ingest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway/broker"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/heap"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// serve is the process under test: "hearthline" or "baseline". It prints "ready ADDRESS" and works until
// ctx ends, so that its processor time can be read from outside.
func serve(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("ingest serve", flag.ContinueOnError)
	dir := fs.String("dir", "", "data folder")
	secure := fs.Bool("tls", false, "hearthline: serve mTLS with the authority in dir")
	upstream := fs.String("broker", "", "baseline: host:port of mosquitto")
	devices := fs.Int("devices", 0, "devices of the registry")
	profile := fs.String("cpuprofile", "", "file for a processor profile")
	if len(args) == 0 {
		return errors.New("serve what?")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1) // before it is ready: unheard, the signal would end it
	go tell(ctx, asked)
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { heap.Run(ctx) }) // as in hearth-cloud, and for the baseline too
	if args[0] == "baseline" {
		return serveBaseline(ctx, *dir, *upstream)
	}
	return serveHearthline(ctx, *dir, *devices, *secure)
}

// held is what Go's runtime holds, in bytes.
type held struct{ Objects, Stacks uint64 }

// tell prints what is held, as JSON, each time that SIGUSR1 asks for it.
func tell(ctx context.Context, asked <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(s)
		_ = json.NewEncoder(os.Stdout).Encode(held{s[0].Value.Uint64(), s[1].Value.Uint64()}) // numbers
	}
}

// door wires the broker to ingest as the gateway does.
type door struct {
	ctx      context.Context
	pipeline *ingest.Pipeline
	db       store.DB
}

func (d door) Connected(s *broker.Session) error {
	return d.db.View(d.ctx, s.Tenant, func(tx store.Tx) error {
		_, err := fleet.Presence{}.Home(tx, s.Device)
		return err
	})
}
func (door) Subscribed(*broker.Session)         {}
func (door) Disconnected(*broker.Session, bool) {}
func (d door) Publish(s *broker.Session, c protocol.Channel, payload []byte) error {
	lane, ok := c.Lane()
	if !ok {
		return nil
	}
	waited := false
	err := d.pipeline.Submit(d.ctx, ingest.Message{
		Tenant: s.Tenant, Device: s.Device, Lane: lane, Payload: payload, Received: time.Now(),
	}, func() { waited = true; s.Busy() })
	if waited {
		s.Ready()
	}
	return err
}

func serveHearthline(ctx context.Context, dir string, devices int, secure bool) error {
	var tables []store.Declared
	for _, t := range [][]store.Declared{ingest.Tables(), telemetry.Tables(), timeline.Tables(), fleet.Tables()} {
		tables = append(tables, t...)
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "store.db")}, tables...)
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.Update(ctx, Tenant, func(tx store.Tx) error {
		for i := range devices { // one home each, as in life
			if _, err := fleet.AddHome(tx, cloud.Home{ID: deviceID(i), Name: "Home"}); err != nil {
				return err
			}
			if _, err := fleet.Add(tx, cloud.Device{ID: deviceID(i), Home: deviceID(i), Name: "Hub"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d := &door{ctx: ctx, db: db}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	opts := broker.Options{Handler: d, Logger: log, Identify: func(_ net.Conn, id string) (string, string, error) { return Tenant, id, nil }}
	if secure {
		authority, err := ca.Open(ca.Options{Dir: dir})
		if err != nil {
			return err
		}
		cert, err := authority.ServerCertificate("127.0.0.1")
		if err != nil {
			return err
		}
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool()}
	}
	b, err := broker.New(opts)
	if err != nil {
		return err
	}
	d.pipeline, err = ingest.New(ingest.Options{
		DB: db, Devices: fleet.Presence{}, Timeline: timeline.New(nil), Telemetry: telemetry.Keeper{}, Logger: log,
		Ack: func(tenant, device string, a protocol.Ack) {
			if p, err := protocol.Marshal(&a); err == nil {
				b.Send(tenant, device, protocol.DownAck, p)
			}
		},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- d.pipeline.Run(ctx) }()
	fmt.Println("ready", l.Addr())
	err = b.Serve(ctx, l)
	<-done
	return err
}

// serveBaseline is what one would write against mosquitto: paho with manual acknowledgement, decoding,
// one bbolt transaction for all that has gathered, then the acks. It is tuned like ours where it can be:
// the same bbolt options, the same decoder, one cumulative ack per device and commit for the same end-to-end
// guarantee. It gathers hundreds of records a commit; mosquitto's limit on what is in flight made no
// difference when measured (--inflight 0 lifts it).
func serveBaseline(ctx context.Context, dir, upstream string) error {
	db, err := bbolt.Open(filepath.Join(dir, "baseline.db"), 0o600, &bbolt.Options{
		NoFreelistSync: true, FreelistType: bbolt.FreelistArrayType, InitialMmapSize: 64 << 30, NoStatistics: true,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	type item struct {
		msg    mqtt.Message
		device string
		batch  protocol.Batch
	}
	const most = 16 << 10
	items := make(chan item, most)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + upstream).SetClientID("ingest").
		SetAutoAckDisabled(true).SetMessageChannelDepth(1000).SetConnectTimeout(10 * time.Second))
	if t := c.Connect(); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return fmt.Errorf("connect to mosquitto: %w", t.Error())
	}
	defer c.Disconnect(0)
	t := c.Subscribe("hl/1/+/+/up/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		_, device, _, err := protocol.ParseTopic(m.Topic())
		if err != nil {
			return
		}
		it := item{msg: m, device: device}
		if protocol.Unmarshal(m.Payload(), &it.batch) != nil || protocol.Unmarshal(it.batch.Records[0].Body, new(protocol.Block)) != nil {
			return
		}
		select {
		case items <- it:
		case <-ctx.Done():
		}
	})
	if !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return fmt.Errorf("subscribe at mosquitto: %w", t.Error())
	}
	fmt.Println("ready", upstream)
	group := make([]item, 0, most)
	for {
		group = group[:0]
		select {
		case it := <-items:
			group = append(group, it)
		case <-ctx.Done():
			return nil
		}
	gather:
		for len(group) < most {
			select {
			case it := <-items:
				group = append(group, it)
			default:
				break gather
			}
		}
		last := map[string]uint64{}
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("telemetry"))
			if err != nil {
				return err
			}
			for i := range group {
				it := &group[i]
				seq := it.batch.First
				for _, r := range it.batch.Records {
					key := append([]byte(it.device), 0)
					key = binary.BigEndian.AppendUint64(key, it.batch.Epoch)
					key = binary.BigEndian.AppendUint64(key, seq)
					if err := b.Put(key, r.Body); err != nil {
						return err
					}
					seq++
				}
				last[it.device] = max(last[it.device], seq-1)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range group {
			group[i].msg.Ack()
		}
		for device, seq := range last {
			p, err := protocol.Marshal(&protocol.Ack{Version: 1, Lane: protocol.LaneTelemetry, Epoch: 1, Committed: seq})
			if err != nil {
				return err
			}
			c.Publish(protocol.Topic(Tenant, device, protocol.DownAck), 0, false, p)
		}
	}
}
