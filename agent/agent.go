// Package agent is the vocabulary of the software on the hub: what its parts say to each other. The
// parts live in the packages below it and are wired in agent/app.
package agent
