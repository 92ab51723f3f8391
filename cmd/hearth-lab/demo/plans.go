package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
)

// signPlans plays the operator with the offline key: it makes the key in the demo's folder and signs the
// plans with hearthctl. The cloud gets the signed plans and the public key, nothing else. The second uplink
// is metered, so failing over to it is not allowed.
func signPlans(ctx context.Context, bin, dir, cloud string) error {
	offline := filepath.Join(dir, "offline")
	if err := os.MkdirAll(offline, 0o700); err != nil {
		return fmt.Errorf("sign plans: %w", err)
	}
	key := filepath.Join(offline, "plan-key.pem")
	for _, args := range [][]string{
		{"keys", "--out", key, "--public", filepath.Join(cloud, "plan-keys.pem")},
		{
			"plans", "--key", key, "--tenant", tenant, "--out", filepath.Join(cloud, "plans"),
			"--within", "8s", "--only", "switch-resolver,renew-dhcp,diagnose,remote-session", "--resolvers", home.AltResolver,
		},
	} {
		if out, err := exec.CommandContext(ctx, filepath.Join(bin, "hearthctl"), args...).CombinedOutput(); err != nil {
			return fmt.Errorf("hearthctl %s: %s: %w", args[0], out, err)
		}
	}
	return nil
}
