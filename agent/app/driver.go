package app

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/linux"
)

// drivers are the values of the key "driver".
var drivers = []string{"linux"}

// OpenDriver opens the driver that the configuration names, with its settings:
//
//	linux.model, linux.firmware, linux.hardware   what the device is, where the system does not know
//	linux.cloud          host:port of the cloud, for cloud.*
//	linux.probe          IPv4 address on the internet that answers pings, for wan.*
//	linux.probe_name     the name that resolvers are asked for
//	linux.resolvers      addresses that dns.switch may choose besides the configured ones, by spaces
//	linux.web_url        what the http diagnosis fetches by default
//	linux.speed_url      what the speed diagnosis downloads
//	linux.disk           whose free space disk.free_bytes is
//	linux.systemd        units that service.restart may restart, by spaces
//	linux.initd          scripts of /etc/init.d that it may restart, by spaces
//
// The caller closes it.
func OpenDriver(c *Config) (bridge.Driver, error) {
	opts := linux.Options{Services: map[string]linux.Service{}}
	for name, value := range c.Settings {
		var err error
		switch name {
		case "model":
			opts.Model = value
		case "firmware":
			opts.Firmware = value
		case "hardware":
			opts.Hardware = value
		case "cloud":
			opts.Cloud = value
		case "probe":
			opts.Probe, err = netip.ParseAddr(value)
		case "probe_name":
			opts.ProbeName = value
		case "resolvers":
			for text := range strings.FieldsSeq(value) {
				var a netip.Addr
				if a, err = netip.ParseAddr(text); err != nil {
					break
				}
				opts.Alternatives = append(opts.Alternatives, a)
			}
		case "web_url":
			opts.WebURL = value
		case "speed_url":
			opts.SpeedURL = value
		case "disk":
			opts.DiskPath = value
		case "systemd":
			for unit := range strings.FieldsSeq(value) {
				opts.Services[unit] = linux.Systemd(unit)
			}
		case "initd":
			for script := range strings.FieldsSeq(value) {
				opts.Services[script] = linux.Initd(script)
			}
		default:
			return nil, fmt.Errorf("configuration: unknown key %q", c.Driver+"."+name)
		}
		if err != nil {
			return nil, fmt.Errorf("configuration: key %q: %w", c.Driver+"."+name, err)
		}
	}
	if !slices.Contains(drivers, c.Driver) {
		return nil, fmt.Errorf("configuration: no driver %q", c.Driver)
	}
	return linux.New(opts)
}
