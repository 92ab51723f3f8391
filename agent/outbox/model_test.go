package outbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/protocol"
)

// place is one sequence of one epoch of one lane.
type place struct {
	lane  protocol.Lane
	epoch uint64
	seq   uint64
}

// cloud commits what it reads, in any order of lanes, and remembers what each place held.
type cloud struct {
	at   map[place]string
	next map[place]uint64 // by lane and epoch: highest contiguous sequence
}

func (c *cloud) take(t *rapid.T, l protocol.Lane, r agent.Run) {
	at := r.First
	for _, rec := range r.Records {
		for s := at; s < at+rec.Span; s++ {
			p := place{l, r.Epoch, s}
			if old, ok := c.at[p]; ok && rec.Kind != protocol.KindGap && old != "gap" && old != string(rec.Body) {
				t.Fatalf("%v was used for two records", p)
			} else if !ok {
				c.at[p] = string(rec.Body)
				if rec.Kind == protocol.KindGap {
					c.at[p] = "gap"
				}
			}
		}
		at += rec.Span
	}
	k := place{lane: l, epoch: r.Epoch}
	for c.at[place{l, r.Epoch, c.next[k] + 1}] != "" {
		c.next[k]++
	}
}

// Whatever is put, read, acknowledged, lost on the way and restarted, in any order: every record of an orderly
// life reaches the cloud in its place or is declared as a gap, and no place is used twice.
func TestNoHistoryLosesOrDoublesARecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(temp(t), "outbox.db")
		opts := outbox.Options{Path: path, Device: "hub-1", Clock: agent.NewClock(), MaxBytes: 256 << 10, MaxMemory: 16 << 10}
		box, err := outbox.Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = box.Close() }()
		c := &cloud{at: map[place]string{}, next: map[place]uint64{}}
		events, blocks := map[protocol.EntryID]bool{}, 0
		cursor := map[protocol.Lane]agent.Place{}
		lane := func() protocol.Lane {
			return rapid.SampledFrom([]protocol.Lane{protocol.LaneEvent, protocol.LaneTelemetry}).Draw(t, "lane")
		}
		read := func(l protocol.Lane, from agent.Place) agent.Run {
			r, err := box.Read(l, from, rapid.IntRange(1, 20).Draw(t, "records"), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		t.Repeat(map[string]func(*rapid.T){
			"event": func(t *rapid.T) {
				id, err := box.Event(context.Background(), &protocol.Event{Kind: "x", Args: map[string]string{"n": fmt.Sprint(len(events))}})
				if err != nil {
					t.Fatal(err)
				}
				if events[id] {
					t.Fatalf("%s was given out twice", id)
				}
				events[id] = true
			},
			"telemetry": func(t *rapid.T) {
				for range rapid.IntRange(1, 30).Draw(t, "blocks") {
					blocks++
					body, err := protocol.Marshal(&protocol.Block{Version: 1, Codec: 1, Schema: 1, Rows: 1, Mono: int64(blocks), Data: make([]byte, rapid.IntRange(0, 3000).Draw(t, "size"))})
					if err != nil {
						t.Fatal(err)
					}
					if err := box.Telemetry(protocol.KindBlock, body); err != nil {
						t.Fatal(err)
					}
				}
			},
			"send": func(t *rapid.T) {
				l := lane()
				r := read(l, cursor[l])
				if len(r.Records) == 0 {
					return
				}
				cursor[l] = r.Next()
				if rapid.Bool().Draw(t, "arrives") {
					c.take(t, l, r)
				}
			},
			"acknowledge": func(t *rapid.T) {
				for k, committed := range c.next {
					if rapid.Bool().Draw(t, "this one") {
						box.Acked(k.lane, k.epoch, committed)
					}
				}
			},
			"resend": func(*rapid.T) { clear(cursor) },
			"spill":  func(*rapid.T) { outbox.Maintain(box) },
			"restart": func(t *rapid.T) {
				if err := box.Close(); err != nil {
					t.Fatal(err)
				}
				clear(cursor)
				if box, err = outbox.Open(opts); err != nil {
					t.Fatal(err)
				}
			},
		})
		// In the end the cloud gets everything.
		for _, l := range []protocol.Lane{protocol.LaneEvent, protocol.LaneTelemetry} {
			for at := (agent.Place{}); ; {
				r := read(l, at)
				if len(r.Records) == 0 {
					break
				}
				c.take(t, l, r)
				at = r.Next()
			}
		}
		got := map[protocol.Lane]int{}
		for p := range c.at {
			got[p.lane]++
			if p.seq > c.next[place{lane: p.lane, epoch: p.epoch}] {
				t.Fatalf("there is a hole below %v", p)
			}
		}
		if got[protocol.LaneEvent] != len(events) || got[protocol.LaneTelemetry] != blocks {
			t.Fatalf("%d of %d events and %d of %d blocks arrived", got[protocol.LaneEvent], len(events), got[protocol.LaneTelemetry], blocks)
		}
	})
}

func temp(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "outbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
