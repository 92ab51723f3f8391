package ingest

import (
	"context"
	"sync"
)

// place names a device across tenants.
type place struct{ tenant, device string }

// line is what waits of one device, in the order it came.
type line struct {
	place
	batches []*batch
	size    int           // bytes, of what waits and of what is being committed
	queued  bool          // stands in queue.order
	room    chan struct{} // receives when size went down
	waiting int           // goroutines in put
}

// queue holds what is to be committed, by device, so that one commit takes from every device in turn
// and one device cannot fill the queue for the others.
type queue struct {
	maxLine, maxAll int // bytes

	mu    sync.Mutex
	lines map[place]*line
	order []*line // those with batches, longest waiting first
	size  int
	room  chan struct{} // closed and replaced when size went down and somebody waits
	full  int           // goroutines that wait for room
	work  chan struct{} // capacity 1
	spare []*line       // dropped, to be used again
}

const maxLines = 256 // spare ones

func newQueue(maxLine, maxAll int) *queue {
	return &queue{
		maxLine: maxLine, maxAll: maxAll,
		lines: map[place]*line{}, room: make(chan struct{}), work: make(chan struct{}, 1),
	}
}

// put adds a batch, waiting while the device's line or the whole queue is full. waits is called once
// before the first wait; it may be nil.
func (q *queue) put(ctx context.Context, p place, b *batch, waits func()) error {
	q.mu.Lock()
	l := q.lines[p]
	if l == nil {
		l = q.line()
		l.place = p
		q.lines[p] = l
	}
	l.waiting++ // keeps the line in the map
	for {
		var room <-chan struct{}
		lineFull := l.size > 0 && l.size+b.size > q.maxLine
		if lineFull {
			room = l.room
		} else if q.size > 0 && q.size+b.size > q.maxAll {
			room = q.room
			q.full++
		} else {
			break
		}
		q.mu.Unlock()
		if waits != nil {
			waits()
			waits = nil
		}
		var err error
		select {
		case <-room:
		case <-ctx.Done():
			err = ctx.Err()
		}
		q.mu.Lock()
		if !lineFull {
			q.full--
		}
		if err != nil {
			l.waiting--
			q.drop(l)
			q.mu.Unlock()
			return err
		}
	}
	l.waiting--
	l.batches = append(l.batches, b)
	l.size += b.size
	q.size += b.size
	if !l.queued {
		l.queued = true
		q.order = append(q.order, l)
	}
	more := l.waiting > 0
	q.mu.Unlock()
	if more {
		l.wake() // two connections of one device wait: pass it on
	}
	select {
	case q.work <- struct{}{}:
	default:
	}
	return nil
}

func (l *line) wake() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// line returns a line for a device that has none. q.mu is held.
func (q *queue) line() *line {
	if n := len(q.spare); n > 0 {
		l := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return l
	}
	return &line{room: make(chan struct{}, 1)}
}

// drop forgets a line that holds nothing. q.mu is held.
func (q *queue) drop(l *line) {
	if l.size == 0 && l.waiting == 0 && !l.queued {
		delete(q.lines, l.place)
		if len(q.spare) < maxLines {
			q.spare = append(q.spare, l) // who still wakes it only makes another look again
		}
	}
}

// portion is what one commit takes of one device.
type portion struct {
	line    *line
	batches []*batch
}

// take waits for work and returns batches of up to max bytes, at least one of each device in turn.
func (q *queue) take(ctx context.Context, max int) []portion {
	for {
		q.mu.Lock()
		if len(q.order) > 0 {
			break
		}
		q.mu.Unlock()
		select {
		case <-q.work:
		case <-ctx.Done():
			return nil
		}
	}
	defer q.mu.Unlock()
	var out []portion
	n := 0
	for n < len(q.order) && max > 0 {
		l := q.order[n]
		n++
		l.queued = false
		out = append(out, portion{l, l.batches})
		for _, b := range l.batches {
			max -= b.size
		}
		l.batches = nil
	}
	q.order = append(q.order[:0], q.order[n:]...)
	if len(q.order) > 0 {
		select {
		case q.work <- struct{}{}:
		default:
		}
	}
	return out
}

// settle gives the room of a portion back, and its batches to be used again.
func (q *queue) settle(p portion, used *spare) {
	size := 0
	for _, b := range p.batches {
		size += b.size
		used.give(b)
	}
	clear(p.batches)
	q.mu.Lock()
	if p.line.batches == nil && cap(p.batches) <= maxSpare {
		p.line.batches = p.batches[:0]
	}
	p.line.size -= size
	q.size -= size
	q.drop(p.line)
	if q.full > 0 {
		close(q.room)
		q.room = make(chan struct{})
	}
	q.mu.Unlock()
	p.line.wake()
}
