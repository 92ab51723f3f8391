package predict

import (
	"embed"
	"math"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol/risk"
)

//go:embed messages/*.json
var messages embed.FS

// Message is a sentence before it has a language.
type Message struct {
	Key  string            `json:"key"`
	Args map[string]string `json:"args,omitempty"`
}

// Reasons says what raises a risk, strongest first, or the one reason for which the model abstains.
func Reasons(s risk.Score) []Message {
	if s.Abstain != risk.Scored {
		return []Message{{Key: "abstain." + s.Abstain.String()}}
	}
	var out []Message
	for _, r := range s.Reasons[:s.N] {
		m := Message{Key: "reason." + r.What.String(), Args: map[string]string{
			"metric": r.Signal, "share": strconv.FormatFloat(r.Share, 'f', 3, 64),
		}}
		switch r.What {
		case risk.WhatRecent, risk.WhatQuiet, risk.WhatAge:
			if d := seconds(r.Value); d != "" {
				m.Args["since"] = d
			}
		default:
			set(m.Args, "value", r.Value)
			set(m.Args, "usual", r.Usual)
			read := func(name string) string { return timeline.Reading(r.Signal, m.Args[name]) }
			if read("value") == read("usual") { // it is a reason by what it did before
				delete(m.Args, "value")
				delete(m.Args, "usual")
			}
		}
		out = append(out, m)
	}
	return out
}

func set(args map[string]string, name string, v float64) {
	if finite(v) {
		args[name] = strconv.FormatFloat(v, 'g', 4, 64)
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// seconds writes a duration as people read it, to two parts: "2h10m".
func seconds(v float64) string {
	if !finite(v) || v < 0 || v > 1e9 {
		return ""
	}
	d := time.Duration(v * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours()/24)) + " d"
	case d >= time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	case d >= time.Minute:
		return strconv.Itoa(int(d.Minutes())) + " min"
	}
	return strconv.Itoa(int(d.Seconds())) + " s"
}

// Speaker puts messages into words. It is safe for concurrent use.
type Speaker struct{ texts *timeline.Texts }

// NewSpeaker reads the package's texts.
func NewSpeaker() (*Speaker, error) {
	t, err := timeline.LoadTexts(messages, "messages")
	if err != nil {
		return nil, err
	}
	return &Speaker{t}, nil
}

// Say puts a message into a language (en, zh-CN, zh-TW or what they stand for).
func (s *Speaker) Say(lang string, m Message) string { return s.texts.Say(lang, m.Key, m.Args) }

// Explain is Reasons in words.
func (s *Speaker) Explain(lang string, score risk.Score) []string {
	var out []string
	for _, m := range Reasons(score) {
		out = append(out, s.Say(lang, m))
	}
	return out
}
