package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/assist"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/protocol"
)

// config is the whole configuration. Each key can stand in the file (YAML, TOML or JSON), in the
// environment (HEARTH_HTTP_LISTEN) or on the command line (--http.listen), the later ones winning.
type config struct {
	Data              string `mapstructure:"data"`
	FirstPasswordFile string `mapstructure:"first_password_file"`
	Log               string `mapstructure:"log"`

	Tenant struct {
		ID          string `mapstructure:"id"`
		Name        string `mapstructure:"name"`
		PhoneRegion string `mapstructure:"phone_region"`
	} `mapstructure:"tenant"`
	HTTP struct {
		Listen        string `mapstructure:"listen"`
		Certificate   string `mapstructure:"certificate"`
		Key           string `mapstructure:"key"`
		SecureCookies bool   `mapstructure:"secure_cookies"`
	} `mapstructure:"http"`
	Devices struct {
		MQTT     string   `mapstructure:"mqtt"`
		Broker   string   `mapstructure:"broker"`
		Instance string   `mapstructure:"instance"`
		Enrol    string   `mapstructure:"enrol"`
		Hosts    []string `mapstructure:"hosts"`
	} `mapstructure:"devices"`
	Plans struct {
		Folder string   `mapstructure:"folder"`
		Keys   []string `mapstructure:"keys"`
	} `mapstructure:"plans"`
	Policy struct {
		DiagnosisUnasked bool `mapstructure:"diagnosis_unasked"`
	} `mapstructure:"policy"`
	Predict struct {
		Model    string `mapstructure:"model"`
		Baseline string `mapstructure:"baseline"`
	} `mapstructure:"predict"`
	Store struct {
		Engine     string `mapstructure:"engine"`
		URL        string `mapstructure:"url"`
		MigrateURL string `mapstructure:"migrate_url"`
	} `mapstructure:"store"`
	TURN struct {
		Listen     string   `mapstructure:"listen"`
		Public     string   `mapstructure:"public"`
		DeviceHost string   `mapstructure:"device_host"`
		AllowPeers []string `mapstructure:"allow_peers"`
	} `mapstructure:"turn"`
	Outbreak struct {
		Step  time.Duration `mapstructure:"step"`
		Every time.Duration `mapstructure:"every"`
		Apart time.Duration `mapstructure:"apart"`
		Learn int           `mapstructure:"learn"`
	} `mapstructure:"outbreak"`
}

// flags declares every key with its default; what they say is the documentation of the configuration.
func flags(name string) *pflag.FlagSet {
	f := pflag.NewFlagSet("hearth-cloud "+name, pflag.ContinueOnError)
	f.SortFlags = false
	f.String("config", "", "configuration file (YAML, TOML or JSON); every flag below is a key of it")
	f.String("data", "", "folder of the store and the keys (required)")
	f.String("tenant.id", "home", "id of the vendor whose homes these are")
	f.String("tenant.name", "", "its name; default is the id")
	f.String("tenant.phone_region", "", "country of phone numbers that are given without a country code, such as TW")
	f.String("http.listen", "127.0.0.1:8080", "where people reach API and pages")
	f.String("http.certificate", "", "PEM file for HTTPS; empty serves plain HTTP")
	f.String("http.key", "", "PEM file of its key")
	f.Bool("http.secure_cookies", false, "send cookies over HTTPS only, for a proxy that ends TLS; always so with http.certificate")
	f.String("devices.mqtt", ":8883", "where devices connect (MQTT over mutual TLS)")
	f.String("devices.broker", "", "broker cluster (tls://host:port) that devices connect to instead; devices.mqtt is then the host:port that they are told")
	f.String("devices.instance", "", "name of this instance among those that share the broker; default is the host's name")
	f.String("devices.enrol", ":8884", "where devices enrol (HTTPS)")
	f.StringSlice("devices.hosts", []string{"localhost", "127.0.0.1", "::1"}, "names and addresses that devices know this service by; they are sent to the first")
	f.String("plans.folder", "", "folder of signed plans; default is DATA/plans")
	f.StringSlice("plans.keys", nil, "PEM files of the public keys whose signature on plans counts; default is DATA/plan-keys.pem where it exists")
	f.Bool("policy.diagnosis_unasked", false, "a remote session that may only diagnose needs no consent of the customer")
	f.String("predict.model", "", "risk model for devices that do not score themselves: a file, or namespaced-home for the built-in one, which knows no real home; empty predicts nothing here")
	f.String("predict.baseline", "", "file of what that model takes as usual for a device it has not heard yet")
	f.String("store.engine", "bolt", "bolt keeps everything in DATA/hearth.db; postgres in a database")
	f.String("store.url", "", "of the database, for postgres")
	f.String("store.migrate_url", "", "of the database under the role that owns the tables, for postgres")
	f.String("turn.listen", "", "host:port of the built-in TURN server for remote sessions; empty starts none")
	f.String("turn.public", "", "address where browsers reach it")
	f.String("turn.device_host", "", "host where devices reach it, when that is another")
	f.StringSlice("turn.allow_peers", nil, "private ranges that it may relay to all the same, such as 10.1.0.0/16")
	f.Duration("outbreak.step", 0, "what is counted together when looking for bad batches; 0 is a day")
	f.Duration("outbreak.every", 0, "time between two looks; 0 is an hour")
	f.Duration("outbreak.apart", 0, "faults of one device closer than this are one; 0 is ten minutes")
	f.Int("outbreak.learn", 0, "quiet steps to learn from before the first alarm; 0 is 60")
	f.String("first_password_file", "", "also write the first admin's password to this new file, mode 0600")
	f.String("log", "info", "least severe messages to log: debug, info, warn or error")
	return f
}

// readConfig reads file, environment and flags. An unknown or missing key is refused by name.
func readConfig(f *pflag.FlagSet, args []string) (config, error) {
	var c config
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	v := viper.New()
	v.SetEnvPrefix("hearth")
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	if err := v.BindPFlags(f); err != nil {
		return c, err
	}
	if path := v.GetString("config"); path != "" {
		file := viper.New()
		file.SetConfigFile(path)
		if err := file.ReadInConfig(); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
		for _, key := range file.AllKeys() {
			if key == "config" || f.Lookup(key) == nil {
				return c, fmt.Errorf("configuration %s: unknown key %s; known are %s", path, key, strings.Join(known(f), ", "))
			}
		}
		v.SetConfigFile(path)
		if err := v.ReadInConfig(); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	hook := mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(","))
	if err := v.Unmarshal(&c, viper.DecodeHook(hook)); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	return c, c.check()
}

func known(f *pflag.FlagSet) (keys []string) {
	f.VisitAll(func(x *pflag.Flag) {
		if x.Name != "config" {
			keys = append(keys, x.Name)
		}
	})
	return keys
}

func (c *config) check() error {
	if c.Data == "" {
		return errors.New("configuration: data is missing: the folder of the store and the keys")
	}
	if err := protocol.CheckID("tenant.id", c.Tenant.ID); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if (c.HTTP.Certificate == "") != (c.HTTP.Key == "") {
		return errors.New("configuration: http.certificate and http.key go together")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log) {
		return fmt.Errorf("configuration: log is %q, want debug, info, warn or error", c.Log)
	}
	switch {
	case c.Store.Engine != "bolt" && c.Store.Engine != "postgres":
		return fmt.Errorf("configuration: store.engine is %q, want bolt or postgres", c.Store.Engine)
	case c.Store.Engine == "postgres" && c.Store.URL == "":
		return errors.New("configuration: store.url is missing for store.engine postgres")
	case c.Store.Engine == "bolt" && c.Store.URL != "":
		return errors.New("configuration: store.url is set, but store.engine is bolt")
	}
	if c.Devices.Broker != "" {
		if u, err := url.Parse(c.Devices.Broker); err != nil || u.Host == "" {
			return fmt.Errorf("configuration: devices.broker is %q, want tls://host:port", c.Devices.Broker)
		}
		if host, _, err := net.SplitHostPort(c.Devices.MQTT); err != nil || host == "" {
			return fmt.Errorf("configuration: devices.mqtt is %q, want the host:port of the broker that devices are told", c.Devices.MQTT)
		}
		if c.Devices.Instance == "" {
			host, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("configuration: devices.instance is missing: %w", err)
			}
			c.Devices.Instance = host
		}
	}
	if len(c.Devices.Hosts) == 0 {
		return errors.New("configuration: devices.hosts is empty; devices must know the service by a name")
	}
	_, err := c.turn()
	return err
}

func (c *config) turn() (*assist.TURNOptions, error) {
	if c.TURN.Listen == "" {
		if c.TURN.Public != "" || len(c.TURN.AllowPeers) > 0 || c.TURN.DeviceHost != "" {
			return nil, errors.New("configuration: turn.listen is missing, but other keys of turn are set")
		}
		return nil, nil
	}
	public, err := netip.ParseAddr(c.TURN.Public)
	if err != nil {
		return nil, fmt.Errorf("configuration: turn.public: %w", err)
	}
	o := &assist.TURNOptions{Listen: c.TURN.Listen, Public: public, DeviceHost: c.TURN.DeviceHost}
	for _, s := range c.TURN.AllowPeers {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("configuration: turn.allow_peers: %w", err)
		}
		o.AllowPeers = append(o.AllowPeers, p)
	}
	return o, nil
}

func (c *config) tenants() []cloud.Tenant {
	name := c.Tenant.Name
	if name == "" {
		name = c.Tenant.ID
	}
	return []cloud.Tenant{{ID: c.Tenant.ID, Name: name}}
}

// riskModel reads the model for devices that do not score themselves.
func (c *config) riskModel() (model, baseline []byte, err error) {
	switch c.Predict.Model {
	case "":
		return nil, nil, nil
	case "namespaced-home":
		model, baseline = predict.NamespacedHome()
		return model, baseline, nil
	}
	if model, err = os.ReadFile(c.Predict.Model); err != nil {
		return nil, nil, fmt.Errorf("configuration: predict.model: %w", err)
	}
	if c.Predict.Baseline != "" {
		if baseline, err = os.ReadFile(c.Predict.Baseline); err != nil {
			return nil, nil, fmt.Errorf("configuration: predict.baseline: %w", err)
		}
	}
	return model, baseline, nil
}

// planKeys reads the public keys whose signature on plans counts.
func (c *config) planKeys() (keys []ed25519.PublicKey, err error) {
	files, optional := c.Plans.Keys, false
	if len(files) == 0 {
		files, optional = []string{filepath.Join(c.Data, "plan-keys.pem")}, true
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if optional && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("configuration: plans.keys: %w", err)
		}
		found := 0
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("configuration: plans.keys: %s: %w", path, err)
			}
			ed, ok := key.(ed25519.PublicKey)
			if !ok {
				return nil, fmt.Errorf("configuration: plans.keys: %s holds a %T, want Ed25519", path, key)
			}
			keys = append(keys, ed)
			found++
		}
		if found == 0 {
			return nil, fmt.Errorf("configuration: plans.keys: %s holds no public key in PEM", path)
		}
	}
	return keys, nil
}
