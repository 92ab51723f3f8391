// Package assist is the device's end of a remote session. It runs in a process of its own, started by
// the agent for one session and gone with it, so that WebRTC costs the agent nothing.
//
//	browser  <-- WebRTC data channel "control" -->  assist  <-- lines of JSON -->  agent  <-- MQTT -->  cloud
//
// The browser asks, the device answers; both as JSON text, at most one object a message:
//
//	browser: {"id":"1","do":"diagnose","request":{"kind":"connection"}}
//	device:  {"id":"1","step":{...}}  {"id":"1","result":{...}}  {"id":"1","error":"..."}
//	         {"metrics":{"at":1700000000000,"values":[{"name":"gateway.rtt_ms","value":1.2}]}}
//	         {"bye":"customer"}
//
// What may be asked was agreed with the customer and arrives signed in protocol.Assist.Allow; the
// session closes by itself when the time that the agent gave it is over, when the agent's pipe closes, or
// when either side says so.
package assist

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// hub is what a session needs of the device; the bridge provides it.
type hub interface {
	Sample(ctx context.Context) (*protocol.Sample, error)
	Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error)
}

// Options configures a Session. Hub, In and Out are required.
type Options struct {
	Hub          hub
	In           io.Reader     // agent.ToAssist, one a line
	Out          io.Writer     // agent.FromAssist, one a line
	MetricsEvery time.Duration // between live metrics; 0 means 1s
	ConnectIn    time.Duration // from the start to an open data channel; 0 means 2 minutes: a person clicks
	Log          *slog.Logger  // nil means none
}

// Session is one remote session. Its methods are for one goroutine.
type Session struct {
	opts Options
	log  *slog.Logger

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// New validates and starts nothing.
func New(opts Options) (*Session, error) {
	if opts.Hub == nil || opts.In == nil || opts.Out == nil {
		return nil, errors.New("assist: hub, in and out are required")
	}
	if opts.MetricsEvery == 0 {
		opts.MetricsEvery = time.Second
	}
	if opts.ConnectIn == 0 {
		opts.ConnectIn = 2 * time.Minute
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Session{opts: opts, log: opts.Log, out: json.NewEncoder(opts.Out)}, nil
}

// Why a session ended, as told to the agent and to the browser.
const (
	endedTime    = "time_over"
	endedLost    = "connection_lost"
	endedBrowser = "staff"
	endedNobody  = "nobody_came"
	endedAgent   = "agent_gone"
)

// Run reads the start line, serves the session and returns when it is over. The last line it writes is
// Ended with the reason. It waits for all its goroutines but the one that reads In, which ends with In.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := s.read(ctx)
	first, ok := <-lines
	if !ok || first.Start == nil {
		return errors.New("assist: the first line is not a start")
	}
	left := time.Duration(first.LeftMS) * time.Millisecond
	if left == 0 {
		left = time.Until(time.Unix(first.Start.EndsAt, 0))
	}
	reason, err := s.serve(ctx, first.Start, left, lines)
	s.tell(agent.FromAssist{Ended: reason})
	return err
}

// serve holds the peer connection and decides when the session is over: after left at the latest.
func (s *Session) serve(ctx context.Context, start *protocol.Assist, left time.Duration, lines <-chan agent.ToAssist) (reason string, err error) {
	peer, err := dial(start, s.tell)
	if err != nil {
		return endedLost, err
	}
	desk := &desk{session: start.Session, allow: start.Allow, hub: s.opts.Hub, peer: peer, tell: s.tell, log: s.log}
	defer func() {
		desk.stop()
		peer.close(reason)
	}()

	over := time.NewTimer(left)
	defer over.Stop()
	nobody := time.NewTimer(s.opts.ConnectIn)
	defer nobody.Stop()
	metrics := time.NewTicker(s.opts.MetricsEvery)
	defer metrics.Stop()

	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok:
				return endedAgent, nil
			case line.End != "":
				return line.End, nil
			case line.Signal != nil:
				if err := peer.signal(*line.Signal); err != nil {
					s.log.Warn("signal refused", "kind", line.Signal.Kind, "err", err)
				}
			}
		case <-peer.opened:
			nobody.Stop()
		case m := <-peer.messages:
			desk.ask(ctx, m)
		case <-metrics.C:
			desk.metrics(ctx)
		case <-peer.hungUp:
			return endedBrowser, nil
		case <-peer.lost:
			return endedLost, nil
		case <-nobody.C:
			return endedNobody, nil
		case <-over.C:
			return endedTime, nil
		case <-ctx.Done():
			return endedAgent, nil
		}
	}
}

// read turns In into lines until it ends.
func (s *Session) read(ctx context.Context) <-chan agent.ToAssist {
	lines := make(chan agent.ToAssist)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(s.opts.In)
		scanner.Buffer(make([]byte, 0, 4096), agent.MaxPipeLine)
		for scanner.Scan() {
			var line agent.ToAssist
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				s.log.Warn("line from the agent not understood", "err", err)
				continue
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// tell writes one line to the agent. It is safe for concurrent use.
func (s *Session) tell(line agent.FromAssist) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.Encode(line); err != nil {
		s.log.Warn("agent does not listen", "err", fmt.Errorf("write line: %w", err))
	}
}
