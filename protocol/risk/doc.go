// Package risk says how likely a connection is to fail soon, and why.
//
// Hub and cloud share this one implementation, so a score means the same on both sides and can be checked after
// the fact: it is the same to the bit on every processor (see number.go).
//
//	samples ──▶ Link (a few hundred bytes: fading means, extremes, counts)
//	               │ Features
//	               ▼
//	   linear part ──┐
//	   tree part   ──┼─▶ logit ─▶ calibration ─▶ probability + reasons, or an abstention
//	   tree part   ──┘
//
// A Model carries its whole input side (Input): which signals it hears, what is remembered of each and which
// features are made of that. So one package serves a hub that samples its gateway every second and a radio link
// that reports every fifteen minutes, and a new model needs no new agent. A missing signal is normal: linear
// parts take the usual value in its place, trees have learned where to send it.
//
// A Model is immutable once compiled and safe for concurrent use. Link, Scorer and Observer are not: give each
// goroutine its own Scorer and let one goroutine own a Link.
package risk
