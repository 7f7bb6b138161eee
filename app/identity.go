package app

import (
	"context"
	"fmt"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/zones/pin"
)

// machineKey is the setting of instance.db, sealed, that holds the server's TLS identity
// towards machines: agents and linked zones know the server by its pin.
const machineKey = "machine-key"

// machineIdentity loads the server's TLS identity towards machines, or makes it.
func machineIdentity(ctx context.Context, i *instance.Instance) (pin.Identity, error) {
	b, err := i.SettingOr(ctx, machineKey, func() ([]byte, error) {
		id, err := pin.New()
		if err != nil {
			return nil, err
		}
		return id.Marshal()
	})
	if err != nil {
		return pin.Identity{}, fmt.Errorf("the server's machine key: %w", err)
	}
	return pin.Parse(b)
}
