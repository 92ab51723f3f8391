package protocol

// The enrolment messages are JSON over HTTPS: they are spoken once, before there is anything to save.

// Enrol asks for a first certificate (POST /v1/enrol).
type Enrol struct {
	Token string `json:"token"` // one-time, from the sticker or the installer
	CSR   string `json:"csr"`   // PEM; the key was made on the device and never leaves it
}

// Renewal asks for the next certificate over mTLS with the present one (POST /v1/renew).
type Renewal struct {
	CSR string `json:"csr"` // PEM
}

// Enrolled is the answer to both: who the device is, whom to trust and where to connect.
type Enrolled struct {
	Tenant      string   `json:"tenant"`
	Device      string   `json:"device"`
	Certificate string   `json:"certificate"`  // PEM chain, leaf first
	CA          string   `json:"ca"`           // PEM; signs the broker's certificate too
	Broker      string   `json:"broker"`       // host:port, TLS
	CommandKeys [][]byte `json:"command_keys"` // Ed25519 public keys of the cloud
	PlanKeys    [][]byte `json:"plan_keys"`    // Ed25519 public keys that may authorise plans
}
