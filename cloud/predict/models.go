package predict

import _ "embed" // for the models below

//go:embed models/namespaced-home.model.cbor
var namespacedHomeModel []byte

//go:embed models/namespaced-home.baseline.cbor
var namespacedHomeBaseline []byte

// NamespacedHome returns the encoded model, and the baseline to start from, that were fitted on recordings of homes
// made of network namespaces with injected faults (see models/README.md). It knows no real home.
func NamespacedHome() (model, baseline []byte) { return namespacedHomeModel, namespacedHomeBaseline }
