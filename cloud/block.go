package cloud

import "time"

// Block is a telemetry block as a device sent it, with where it belongs. It is evidence: kept as it
// came, decoded when somebody looks.
type Block struct {
	Home, Device    string
	From, To        time.Time // corrected time of the first row, and of sealing
	Epoch, Sequence uint64    // its place on the device's telemetry lane
	Bytes           []byte    // an encoded protocol.Block; nobody changes it
}
