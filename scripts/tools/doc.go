// Package tools pins the programs that check the tree; they stay out of the product's own go.mod.
package tools
