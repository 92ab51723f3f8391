package protocol

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/veraison/go-cose"
)

// ErrSignature is returned when no trusted key made a signature.
var ErrSignature = errors.New("signature not by a trusted key")

// Purpose separates what a signature was made for: a signed plan can never be taken for a command.
type Purpose string

// What is signed.
const (
	PurposeCommand Purpose = "hearthline/command/1"
	PurposePlan    Purpose = "hearthline/plan/1"
	PurposeModel   Purpose = "hearthline/model/1"
	PurposeTime    Purpose = "hearthline/time/1"
)

// Sign wraps payload in a tagged COSE_Sign1 (RFC 9052) by an Ed25519 key, with the purpose as external data.
func Sign(purpose Purpose, payload []byte, key crypto.Signer) ([]byte, error) {
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", purpose, err)
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA}}
	b, err := cose.Sign1(rand.Reader, signer, headers, payload, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", purpose, err)
	}
	return b, nil
}

// Verify returns the payload of a COSE_Sign1 that one of the trusted keys made for the purpose.
// The error wraps ErrInvalid for malformed input and ErrSignature for one by no trusted key.
func Verify(purpose Purpose, b []byte, trusted []ed25519.PublicKey) ([]byte, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %s is %d bytes, limit %d", ErrInvalid, purpose, len(b), MaxMessage)
	}
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, purpose, err)
	}
	for _, key := range trusted {
		v, err := cose.NewVerifier(cose.AlgorithmEdDSA, key)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", purpose, err)
		}
		if m.Verify([]byte(purpose), v) == nil {
			return m.Payload, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", purpose, ErrSignature)
}
