package risk

import "math"

// Link is what is remembered about one link (or one device): 12 bytes a signal and 4 to 8 a track.
// It is not safe for concurrent use.
type Link struct {
	in    *Input
	slots []float32 // values of the tracks, in order
	start []uint16  // first slot of each track; shared by all links of an Input
	first []float64 // when each signal was first heard; NaN before
	seen  []float64 // when each signal was last heard; NaN before
	heard []uint32  // values heard of each signal
	own   own
}

// Layout prepares an Input for use. It is safe for concurrent use.
type Layout struct {
	in    *Input
	start []uint16
	by    [][]uint16 // tracks of each signal
	slots int
}

// NewLayout checks an input and prepares it.
func NewLayout(in *Input) (*Layout, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	l := &Layout{in: in, start: make([]uint16, len(in.Tracks)), by: make([][]uint16, len(in.Signals))}
	for i, t := range in.Tracks {
		l.start[i] = uint16(l.slots)
		l.slots += t.slots()
		l.by[t.Signal] = append(l.by[t.Signal], uint16(i))
	}
	return l, nil
}

// NewLink returns the state of a link nothing is known about.
func (l *Layout) NewLink() *Link {
	k := &Link{
		in: l.in, start: l.start,
		slots: make([]float32, l.slots),
		first: make([]float64, len(l.in.Signals)),
		seen:  make([]float64, len(l.in.Signals)),
		heard: make([]uint32, len(l.in.Signals)),
	}
	k.Reset()
	return k
}

// Reset forgets everything.
func (k *Link) Reset() {
	for i := range k.slots {
		k.slots[i] = nan32
	}
	for i := range k.seen {
		k.first[i], k.seen[i], k.heard[i] = math.NaN(), math.NaN(), 0
	}
	k.own = own{}
}

// Bytes is the memory the state of the link takes, without headers.
func (k *Link) Bytes() int { return 4*len(k.slots) + 20*len(k.seen) + 24 }

// Put takes the value v of a signal at time at, in seconds of any clock that does not run backwards. A NaN or an
// infinity is no value and is ignored; a time before the signal's last one counts as that last one.
func (l *Layout) Put(k *Link, signal int, at, v float64) {
	if v != v || v > math.MaxFloat64 || v < -math.MaxFloat64 {
		return
	}
	if s := &l.in.Signals[signal]; s.Hi > s.Lo {
		v = clamp(v, s.Lo, s.Hi)
	}
	dt := 0.0
	if k.heard[signal] == 0 {
		k.first[signal], k.seen[signal] = at, at
	} else if dt = at - k.seen[signal]; dt > 0 {
		k.seen[signal] = at
	} else {
		dt = 0
	}
	if k.heard[signal] < math.MaxUint32 {
		k.heard[signal]++
	}
	n := float64(k.heard[signal])
	tau, fade := 0.0, 1.0 // fade = exp(-dt/tau), kept while tracks in a row share tau
	for _, i := range l.by[signal] {
		t := &l.in.Tracks[i]
		if t.Tau > 0 && t.Tau != tau {
			tau, fade = t.Tau, exp(-dt/t.Tau)
		}
		j := k.start[i]
		if t.Kind == Least {
			least(k.slots[j:j+eighths+1], v, k.turns(t, k.seen[signal]-dt, k.seen[signal]))
		} else if t.slots() > 0 {
			l.update(k.slots[j:], t, v, dt, n, fade)
		}
	}
}

func (l *Layout) update(s []float32, t *Track, v, dt, n, fade float64) {
	old := float64(s[0])
	fresh := old != old
	switch t.Kind {
	case Last:
		s[0] = float32(v)
	case Mean, Base:
		if fresh {
			s[0], s[1] = float32(v), 0
			return
		}
		// Until a time constant has passed this is the plain mean of what there was.
		a := 1 - fade
		if a < 1/n {
			a = 1 / n
		}
		d, spread := v-old, float64(s[1])
		if t.Kind == Base && n > 10 {
			// A short fault must not become the new normal, so a step is cut off at three spreads (but not at
			// zero: a signal that never moved may move).
			lim := mul(3, spread) + mul(0.01, abs(old)) + 1e-9
			d = clamp(d, -lim, lim)
		}
		s[0] = float32(old + mul(a, d))
		s[1] = float32(spread + mul(a, abs(d)-spread))
	case Low:
		if fresh || v <= old {
			s[0] = float32(v)
		} else {
			s[0] = float32(old + mul(1-fade, v-old))
		}
	case High:
		if fresh || v >= old {
			s[0] = float32(v)
		} else {
			s[0] = float32(old + mul(1-fade, v-old))
		}
	case Count:
		if fresh {
			old = 0
		}
		s[0] = float32(mul(old, fade) + v)
	case Since:
		if v >= t.At {
			s[0] = 0
		} else if !fresh {
			s[0] = float32(old + dt)
		}
	}
}

// turns is how many eighths of a Least track's window, counted from the signal's first value on, begin after from and
// not after to, at most all of them.
func (k *Link) turns(t *Track, from, to float64) int {
	piece, first := t.Tau/eighths, k.first[t.Signal]
	if to-from >= t.Tau+piece {
		return eighths + 1
	}
	return int(int64((to-first)/piece) - int64((from-first)/piece))
}

// least turns the minima of a window's eighths, the present one first, and takes v into the present one.
func least(s []float32, v float64, turns int) {
	if turns = min(turns, len(s)); turns > 0 {
		copy(s[turns:], s)
		for i := range turns {
			s[i] = nan32
		}
	}
	if f := float32(v); !(s[0] <= f) {
		s[0] = f
	}
}

func abs(x float64) float64 {
	if x < 0 {
		return -x
	}
	return x
}

// track is the value of track i at time at, NaN if there is none.
func (l *Layout) track(k *Link, i uint16, at float64) float64 {
	t := &l.in.Tracks[i]
	if k.heard[t.Signal] == 0 {
		return math.NaN()
	}
	dt := at - k.seen[t.Signal]
	if dt < 0 {
		dt = 0
	}
	switch t.Kind {
	case Quiet:
		return dt
	case Age:
		if at < k.first[t.Signal] {
			return 0
		}
		return at - k.first[t.Signal]
	case Count:
		if dt == 0 {
			return float64(k.slots[k.start[i]])
		}
		return mul(float64(k.slots[k.start[i]]), exp(-dt/t.Tau))
	case Since:
		ago := float64(k.slots[k.start[i]]) + dt
		if t.Tau > 0 && !(ago <= t.Tau) {
			return t.Tau
		}
		return ago
	case Least:
		s, low := k.slots[k.start[i]:k.start[i]+eighths+1], nan32
		for _, v := range s[:len(s)-min(len(s), k.turns(t, k.seen[t.Signal], max(at, k.seen[t.Signal])))] {
			if !(low <= v) && v == v {
				low = v
			}
		}
		return float64(low)
	}
	return float64(k.slots[k.start[i]])
}

// Features writes the features of k at time at to out, which has room for all of them; missing ones are NaN.
func (l *Layout) Features(k *Link, at float64, out []float32) {
	for i := range l.in.Features {
		f := &l.in.Features[i]
		a := l.track(k, f.A, at)
		switch f.Form {
		case Log:
			if a < 0 {
				a = 0
			}
			a = log(1 + a)
		case Spread:
			a = float64(k.slots[k.start[f.A]+1])
		case Minus:
			a -= l.track(k, f.B, at)
		case Ratio:
			a /= l.track(k, f.B, at) + f.Floor
		case Excess:
			b := l.track(k, f.B, at)
			if a != a {
				a = 0
			}
			if b != b {
				b = 0
			}
			a = log((a + f.Floor) / (b + f.Floor))
		case Sigma:
			a = (a - l.track(k, f.B, at)) / (float64(k.slots[k.start[f.B]+1]) + f.Floor)
		}
		out[i] = float32(a)
	}
}
