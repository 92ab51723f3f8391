package risk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
)

// Node is one node of a Tree. The left child of a split is the next node; values below Threshold go left.
type Node struct {
	Feature     uint16 // leaf: Leaf
	MissingLeft bool   // where a missing value goes
	Right       uint16 // index of the right child
	Threshold   float32
	// Value is what the tree says if it is asked to stop here; at a leaf it is its answer. The steps between
	// the values on a path are the contributions of the features that were asked.
	Value float32
}

// Leaf marks a node without children.
const Leaf = 0x7fff

// Tree is a decision tree in depth-first order: node 0 is the root. Its wire form is 12 bytes a node.
type Tree []Node

const nodeBytes = 12

// MarshalCBOR encodes the tree as a byte string.
func (t Tree) MarshalCBOR() ([]byte, error) {
	b := make([]byte, 0, nodeBytes*len(t))
	for _, n := range t {
		f := n.Feature
		if n.MissingLeft {
			f |= 0x8000
		}
		b = binary.LittleEndian.AppendUint16(b, f)
		b = binary.LittleEndian.AppendUint16(b, n.Right)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(n.Threshold))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(n.Value))
	}
	return cbor.Marshal(b)
}

// UnmarshalCBOR decodes the byte string; the tree still needs Compile to be checked.
func (t *Tree) UnmarshalCBOR(data []byte) error {
	var b []byte
	if err := cbor.Unmarshal(data, &b); err != nil {
		return err
	}
	if len(b) == 0 || len(b)%nodeBytes != 0 || len(b) > nodeBytes*math.MaxUint16 {
		return fmt.Errorf("a tree of %d bytes", len(b))
	}
	*t = make(Tree, len(b)/nodeBytes)
	for i := range *t {
		c := b[i*nodeBytes:]
		f := binary.LittleEndian.Uint16(c)
		(*t)[i] = Node{
			Feature:     f & 0x7fff,
			MissingLeft: f&0x8000 != 0,
			Right:       binary.LittleEndian.Uint16(c[2:]),
			Threshold:   math.Float32frombits(binary.LittleEndian.Uint32(c[4:])),
			Value:       math.Float32frombits(binary.LittleEndian.Uint32(c[8:])),
		}
	}
	return nil
}

// validate makes sure that every walk ends: children lie behind their parent and inside the tree.
func (t Tree) validate(features int) error {
	if len(t) == 0 || len(t) > math.MaxUint16 {
		return errors.New("no nodes, or too many")
	}
	for i, n := range t {
		if isNaN32(n.Value) || isNaN32(n.Threshold) || math.IsInf(float64(n.Value), 0) {
			return fmt.Errorf("node %d is not a number", i)
		}
		if n.Feature == Leaf {
			continue
		}
		if int(n.Feature) >= features || i+1 >= len(t) || int(n.Right) <= i+1 || int(n.Right) >= len(t) {
			return fmt.Errorf("node %d points nowhere", i)
		}
	}
	return nil
}

// walk returns the answer of the tree.
func (t Tree) walk(x []float32) float32 {
	i := 0
	for {
		n := &t[i]
		if n.Feature == Leaf {
			return n.Value
		}
		v := x[n.Feature]
		if v < n.Threshold || n.MissingLeft && isNaN32(v) {
			i++
		} else {
			i = int(n.Right)
		}
	}
}

// explain walks the tree and adds scale times each step to the feature that was asked.
func (t Tree) explain(x []float32, scale float64, by []float64) float32 {
	i := 0
	for {
		n := &t[i]
		if n.Feature == Leaf {
			return n.Value
		}
		v := x[n.Feature]
		next := int(n.Right)
		if v < n.Threshold || n.MissingLeft && isNaN32(v) {
			next = i + 1
		}
		by[n.Feature] += mul(scale, float64(t[next].Value)-float64(n.Value))
		i = next
	}
}
