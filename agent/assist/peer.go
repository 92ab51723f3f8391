package assist

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// Limits of the data channel.
const (
	maxRequest  = 16 << 10 // bytes of one message from the browser: a diagnosis request is below 1 KiB
	waiting     = 16       // messages from the browser that may wait; it sends them by hand
	byeWithin   = 300 * time.Millisecond
	closeWithin = time.Second // the agent kills what lingers for two
)

// peer is the WebRTC connection to the browser. The browser offers, we answer, candidates trickle.
type peer struct {
	session  string
	pc       *webrtc.PeerConnection
	answered func(sdp string)

	opened   chan struct{} // one value when the data channel opens
	hungUp   chan struct{} // closed when the browser closes the data channel
	lost     chan struct{} // closed when the connection failed
	messages chan []byte   // from the browser

	mu      sync.Mutex
	channel *webrtc.DataChannel
	early   []webrtc.ICECandidateInit // candidates that came before the offer
	once    struct{ hungUp, lost sync.Once }
}

func dial(start *protocol.Assist, tell func(agent.FromAssist)) (*peer, error) {
	var settings webrtc.SettingEngine
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled) // costs a second, and opens a socket to the home
	var servers []webrtc.ICEServer
	for _, s := range start.ICEServers {
		servers = append(servers, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{ICEServers: servers})
	if err != nil {
		return nil, fmt.Errorf("open peer connection: %w", err)
	}
	p := &peer{
		session: start.Session, pc: pc,
		opened: make(chan struct{}, 1), hungUp: make(chan struct{}), lost: make(chan struct{}),
		messages: make(chan []byte, waiting),
	}
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			return
		}
		body, err := json.Marshal(c.ToJSON())
		if err != nil {
			return // a candidate of pion's own always encodes
		}
		tell(p.line("candidate", string(body)))
	})
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed {
			p.once.lost.Do(func() { close(p.lost) })
		}
	})
	pc.OnDataChannel(p.accept)
	p.answered = func(sdp string) { tell(p.line("answer", sdp)) }
	return p, nil
}

// accept takes the browser's one data channel; any other is closed.
func (p *peer) accept(c *webrtc.DataChannel) {
	p.mu.Lock()
	first := p.channel == nil && c.Label() == "control"
	if first {
		p.channel = c
	}
	p.mu.Unlock()
	if !first {
		c.Close()
		return
	}
	c.OnOpen(func() { p.opened <- struct{}{} })
	c.OnClose(func() { p.once.hungUp.Do(func() { close(p.hungUp) }) })
	c.OnMessage(func(m webrtc.DataChannelMessage) {
		if !m.IsString || len(m.Data) > maxRequest {
			return
		}
		select {
		case p.messages <- m.Data:
		default: // a browser that floods is not answered
		}
	})
}

// signal takes one step of the set-up from the browser.
func (p *peer) signal(s protocol.Signal) error {
	switch s.Kind {
	case "offer":
		return p.answer(s.Body)
	case "candidate":
		var c webrtc.ICECandidateInit
		if err := json.Unmarshal([]byte(s.Body), &c); err != nil {
			return fmt.Errorf("candidate: %w", err)
		}
		if p.pc.RemoteDescription() == nil {
			if len(p.early) < 64 {
				p.early = append(p.early, c)
			}
			return nil
		}
		return p.pc.AddICECandidate(c)
	}
	return fmt.Errorf("signal of kind %q is not for a device", s.Kind)
}

func (p *peer) answer(sdp string) error {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp}); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	p.answered(answer.SDP)
	if err := p.pc.SetLocalDescription(answer); err != nil { // starts gathering; candidates follow the answer
		return fmt.Errorf("answer: %w", err)
	}
	for _, c := range p.early {
		if err := p.pc.AddICECandidate(c); err != nil {
			return fmt.Errorf("early candidate: %w", err)
		}
	}
	p.early = nil
	return nil
}

// send writes one JSON message to the browser; without an open channel it is dropped.
func (p *peer) send(v any) {
	p.mu.Lock()
	c := p.channel
	p.mu.Unlock()
	if c == nil || c.ReadyState() != webrtc.DataChannelStateOpen {
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		return // only types of this package come here
	}
	c.SendText(string(b)) // an error shows as a lost connection
}

// close says goodbye and tears everything down, also when the browser no longer answers.
func (p *peer) close(reason string) {
	p.send(map[string]string{"bye": reason})
	p.mu.Lock()
	c := p.channel
	p.mu.Unlock()
	if c != nil {
		for deadline := time.Now().Add(byeWithin); c.BufferedAmount() > 0 && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	closed := make(chan struct{})
	go func() {
		p.pc.GracefulClose()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closeWithin): // a relay that does not answer must not keep a session that is over
	}
}

func (p *peer) line(kind, body string) agent.FromAssist {
	return agent.FromAssist{Signal: &protocol.Signal{Version: protocol.Version, Session: p.session, Kind: kind, Body: body}}
}

// there reports whether the data channel is open.
func (p *peer) there() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.channel != nil && p.channel.ReadyState() == webrtc.DataChannelStateOpen
}
