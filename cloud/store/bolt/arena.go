package bolt

// arena is memory for what a transaction writes: bbolt refers to values until the commit. It is used again
// for the next one, since values of many kB are the most costly garbage that a busy store makes. The zero
// arena is ready.
type arena struct {
	chunks [][]byte
	at     int    // the chunk after that of free
	free   []byte // what is left of a chunk
}

const (
	arenaChunk = 256 << 10
	arenaKeep  = 16 // chunks that stay between two transactions: 4 MiB, as much as ingest commits at once
)

// room returns an empty slice with room for n bytes.
func (a *arena) room(n int) []byte {
	if a == nil || n > arenaChunk/4 {
		return make([]byte, 0, n)
	}
	if n > len(a.free) {
		if a.at == len(a.chunks) {
			a.chunks = append(a.chunks, make([]byte, arenaChunk))
		}
		a.free = a.chunks[a.at]
		a.at++
	}
	out := a.free[:0:n]
	a.free = a.free[n:]
	return out
}

// reset takes back all that was given.
func (a *arena) reset() {
	keep := min(len(a.chunks), arenaKeep)
	clear(a.chunks[keep:])
	a.chunks = a.chunks[:keep]
	a.at, a.free = 0, nil
}
