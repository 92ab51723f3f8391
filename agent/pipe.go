package agent

import "github.com/hearthline/hearthline/protocol"

// The agent starts hearth-assist for one remote session and speaks with it over its standard input and
// output, one JSON object a line. The assist process has no other way to the cloud, and ends when its
// input ends, so it can never outlive the agent.

// ToAssist is a line from the agent to the assist process: a Start, which comes first, a Signal or an End.
type ToAssist struct {
	Start  *protocol.Assist `json:"start,omitempty"`
	LeftMS int64            `json:"left_ms,omitempty"` // with Start: the session ends after so long; 0, from an older agent: at its EndsAt
	Signal *protocol.Signal `json:"signal,omitempty"`
	End    string           `json:"end,omitempty"` // close at once; the reason
}

// FromAssist is a line from the assist process to the agent. Exactly one field is set; Ended comes last.
type FromAssist struct {
	Signal *protocol.Signal `json:"signal,omitempty"` // to be published on up/assist
	Event  *protocol.Event  `json:"event,omitempty"`  // to be put on the event lane; Because is added by the agent
	Ended  string           `json:"ended,omitempty"`  // why
}

// MaxPipeLine bounds a line in bytes: a signal or a whole diagnosis fits.
const MaxPipeLine = 128 << 10
