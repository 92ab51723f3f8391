package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/cloud/store"
)

func TestATooOldServerIsNamed(t *testing.T) {
	for version, ok := range map[int]bool{9_06_24: false, 12_00_18: false, 13_00_00: true, 15_00_14: true, 18_00_01: true} {
		err := checkVersion(version)
		if (err == nil) != ok || !ok && (!errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "too old")) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
