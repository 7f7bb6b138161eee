package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
)

// Config is what the server is told from outside. Each field is described by the
// setting of it; zero values are not defaults, [newSettings] puts those in.
type Config struct {
	Data      string // folder of everything that lasts
	Listen    string // host:port for people and API clients
	PublicURL string // under which people reach us; "" is made of Listen
	TLS       string // auto, on, off
	TLSCert   string // PEM file; "" with TLSKey: our own certificate
	TLSKey    string
	Agents    string // host:port where polling agents connect; off
	Zones     string // host:port where linked zones connect; off
	// Under which others reach those two; "" when off.
	AgentsAddress, ZonesAddress string

	Proxies     []string
	TaskCap     int
	SessionIdle time.Duration // a browser is signed out when it did nothing for so long
	SessionMax  time.Duration // and so long after it signed in
	HealthEvery time.Duration // targets are asked for their health so often; 0: never by itself
	// RetentionEvery is how often releases that no policy keeps are deleted; 0: never.
	RetentionEvery time.Duration
	// OutboundLocal lets what people configure call this machine and its link.
	OutboundLocal bool
	Stop          time.Duration // budget of a whole shutdown
	LogFormat     string        // auto, text, json
	LogLevel      string        // debug, info, warn, error
	MasterFile    string        // "": keys/master.key in Data

	MasterKey     string // base64; instead of a file
	OldMasterKey  string // base64; the one before MasterKey, while it is exchanged
	AdminUsername string
	AdminPassword string
	AdminAPIKey   string

	committed func(*spaces.Space) // spaces.Config.Committed, for tests
}

// Ports that are taken when an address is not given.
const (
	defaultListen = "127.0.0.1:8080"
	agentsPort    = "10943" // where Octopus's polling targets connect, too
	zonesPort     = "10944"
	configFile    = "octopuses.toml" // in the data directory
)

// setting is one field of [Config]: where it may come from and where it came from.
type setting struct {
	flag   *pflag.Flag // holds the value, named as in the file; a secret one is no flag of the command line
	env    string
	secret bool
	from   string // "default", "flag", "environment NAME", "file PATH"
}

// settings are all fields, in the order in which they are shown.
type settings struct {
	config Config
	file   string // given by --config
	list   []*setting
	flags  *pflag.FlagSet // of all settings, secret ones too
	loaded bool
}

func newSettings() *settings {
	s := &settings{flags: pflag.NewFlagSet("settings", pflag.ContinueOnError)}
	s.flags.SortFlags = false
	c, f := &s.config, s.flags
	f.StringVar(&c.Data, "data", "octopuses-data", "`folder` of everything that lasts; it is made if needed")
	f.StringVar(&c.Listen, "listen", defaultListen, "`host:port` for browsers and API clients")
	f.StringVar(&c.PublicURL, "public-url", "", "`URL` under which people reach the server, if it is not that of --listen")
	f.StringVar(&c.TLS, "tls", "auto", "on, off, or auto: on unless --listen is an address of this machine alone")
	f.StringVar(&c.TLSCert, "tls-cert", "", "PEM `file` with the certificate chain; without one the server makes its own certificate")
	f.StringVar(&c.TLSKey, "tls-key", "", "PEM `file` with the key of --tls-cert")
	f.StringVar(&c.Agents, "agents", "", "`host:port` where polling agents connect, or off; by default port "+agentsPort+" at the host of --listen")
	f.StringVar(&c.Zones, "zones", "", "`host:port` where linked zones connect, or off; by default port "+zonesPort+" at the host of --listen")
	f.StringVar(&c.AgentsAddress, "agents-address", "", "`host:port` under which agents reach --agents, if it is another")
	f.StringVar(&c.ZonesAddress, "zones-address", "", "`host:port` under which linked zones reach --zones, if it is another")
	f.StringSliceVar(&c.Proxies, "trusted-proxies", nil, "`addresses` of proxies whose X-Forwarded-For is believed")
	f.DurationVar(&c.SessionIdle, "session-idle", instance.DefaultSessionIdle, "a browser that does nothing for so long is signed out")
	f.DurationVar(&c.SessionMax, "session-life", instance.DefaultSessionMax, "a browser is signed out so long after it signed in, whatever it does")
	f.DurationVar(&c.HealthEvery, "health-every", time.Hour, "how often targets are asked for their health; 0: only when somebody asks")
	f.DurationVar(&c.RetentionEvery, "retention-every", 4*time.Hour, "how often releases that no retention policy keeps are deleted; 0: never")
	f.BoolVar(&c.OutboundLocal, "outbound-local", false, "collectors of the audit, web hooks and feeds may be on this machine or its link")
	f.IntVar(&c.TaskCap, "task-cap", 50, "`number` of tasks that run at once")
	f.DurationVar(&c.Stop, "stop-timeout", 30*time.Second, "how long a shutdown may take")
	f.StringVar(&c.LogFormat, "log-format", "auto", "text, json, or auto: text on a terminal")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.MasterFile, "master-key-file", "", "`file` with the master key, if it shall not lie in the data folder")
	f.StringVar(&c.MasterKey, "master-key", "", "")
	f.StringVar(&c.OldMasterKey, "old-master-key", "", "")
	f.StringVar(&c.AdminUsername, "admin-username", "", "")
	f.StringVar(&c.AdminPassword, "admin-password", "", "")
	f.StringVar(&c.AdminAPIKey, "admin-api-key", "", "")
	// Names that Octopus's container image has.
	given := map[string]string{"admin-username": "ADMIN_USERNAME", "admin-password": "ADMIN_PASSWORD", "admin-api-key": "ADMIN_API_KEY"}
	secret := map[string]bool{"master-key": true, "old-master-key": true, "admin-password": true, "admin-api-key": true}
	f.VisitAll(func(flag *pflag.Flag) {
		env := given[flag.Name]
		if env == "" {
			env = "OCTOPUSES_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		}
		s.list = append(s.list, &setting{flag: flag, env: env, secret: secret[flag.Name], from: "default"})
	})
	return s
}

// register offers the settings as flags of a command, and --config. What is secret is
// not among them: other users of the machine see command lines.
func (s *settings) register(f *pflag.FlagSet) {
	for _, one := range s.list {
		if one.flag.Usage != "" {
			f.AddFlag(one.flag)
		}
	}
	f.StringVar(&s.file, "config", "", "`file` with settings, by default "+configFile+" in the data folder")
}

// registerOnly offers some of the settings as flags, for commands that need few.
func (s *settings) registerOnly(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.AddFlag(s.flags.Lookup(name))
	}
	f.StringVar(&s.file, "config", "", "`file` with settings, by default "+configFile+" in the data folder")
}

// load fills in the environment and the file where no flag was given, and checks the
// result. lookup is os.LookupEnv.
func (s *settings) load(lookup func(string) (string, bool)) (Config, error) {
	if s.loaded { // lists would grow
		return s.config, nil
	}
	s.loaded = true
	for _, one := range s.list {
		if one.flag.Changed {
			one.from = "flag --" + one.flag.Name
			continue
		}
		if text, ok := lookup(one.env); ok && text != "" {
			if err := one.flag.Value.Set(text); err != nil {
				return Config{}, &usageError{text: fmt.Sprintf("the environment variable %s cannot be %q: %v", one.env, one.shown(), err)}
			}
			one.from = "environment " + one.env
		}
	}
	if err := s.loadFile(lookup); err != nil {
		return Config{}, err
	}
	return s.config, s.config.check()
}

func (s *settings) loadFile(lookup func(string) (string, bool)) error {
	path, given := s.file, s.file != ""
	if text, ok := lookup("OCTOPUSES_CONFIG"); !given && ok && text != "" {
		path, given = text, true
	}
	if !given {
		path = filepath.Join(s.config.Data, configFile)
	}
	content, err := os.ReadFile(path)
	if !given && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	return s.applyFile(path, content, given)
}

// applyFile takes settings from a TOML file of keys without tables. given tells that
// somebody named the file, who may then name the data folder in it.
func (s *settings) applyFile(path string, content []byte, given bool) error {
	var values map[string]any
	if _, err := toml.NewDecoder(bytes.NewReader(content)).Decode(&values); err != nil {
		return &usageError{text: fmt.Sprintf("%s: %v", path, err)}
	}
	for _, one := range s.list {
		value, ok := values[one.flag.Name]
		delete(values, one.flag.Name)
		if ok && one.flag.Name == "data" && !given {
			return &usageError{text: fmt.Sprintf("%s lies in the data folder and cannot say where that is", path)}
		}
		if !ok || one.from != "default" {
			continue
		}
		text, ok := fileText(value)
		if !ok {
			return &usageError{text: fmt.Sprintf("%s: %s is neither a text, a number nor a list of texts", path, one.flag.Name)}
		}
		if err := one.flag.Value.Set(text); err != nil {
			return &usageError{text: fmt.Sprintf("%s: %s: %v", path, one.flag.Name, err)}
		}
		one.from = "file " + path
	}
	for key := range values {
		text := fmt.Sprintf("%s: there is no setting %q", path, key)
		return &usageError{text: text + "; 'octopuses config' lists them"}
	}
	return nil
}

func fileText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int64, bool:
		return fmt.Sprint(v), true
	case []any:
		var parts []string
		for _, p := range v {
			text, ok := p.(string)
			if !ok {
				return "", false
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

// shown is the value for people: of a secret only whether there is one.
func (s *setting) shown() string {
	text := s.flag.Value.String()
	switch {
	case text == "" || text == "[]":
		return ""
	case s.secret:
		return "********"
	}
	return text
}

// check refuses what cannot work, and puts in the addresses that were left out.
func (c *Config) check() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &usageError{text: fmt.Sprintf("--listen must be host:port, as 0.0.0.0:8443; it is %q", c.Listen)}
	}
	if err := checkDoor("agents", host, agentsPort, &c.Agents, &c.AgentsAddress); err != nil {
		return err
	}
	if err := checkDoor("zones", host, zonesPort, &c.Zones, &c.ZonesAddress); err != nil {
		return err
	}
	choices := []struct{ name, value, among string }{
		{"tls", c.TLS, "auto on off"}, {"log-format", c.LogFormat, "auto text json"}, {"log-level", c.LogLevel, "debug info warn error"},
	}
	for _, one := range choices {
		if one.value == "" || strings.Contains(one.value, " ") || !strings.Contains(" "+one.among+" ", " "+one.value+" ") {
			return &usageError{text: fmt.Sprintf("--%s must be one of %s; it is %q", one.name, strings.ReplaceAll(one.among, " ", ", "), one.value)}
		}
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return &usageError{text: "--tls-cert and --tls-key belong together; only one of them is given"}
	case c.SessionIdle < time.Minute:
		return &usageError{text: fmt.Sprintf("--session-idle must be at least 1m; it is %s", c.SessionIdle)}
	case c.SessionMax < c.SessionIdle:
		return &usageError{text: fmt.Sprintf("--session-life must be at least --session-idle, which is %s; it is %s", c.SessionIdle, c.SessionMax)}
	case c.HealthEvery < 0 || c.HealthEvery > 0 && c.HealthEvery < time.Second:
		return &usageError{text: fmt.Sprintf("--health-every must be 0 or at least 1s; it is %s", c.HealthEvery)}
	case c.RetentionEvery < 0 || c.RetentionEvery > 0 && c.RetentionEvery < time.Second:
		return &usageError{text: fmt.Sprintf("--retention-every must be 0 or at least 1s; it is %s", c.RetentionEvery)}
	case c.TaskCap < 1:
		return &usageError{text: fmt.Sprintf("--task-cap must be at least 1; it is %d", c.TaskCap)}
	case c.Stop <= 0:
		return &usageError{text: fmt.Sprintf("--stop-timeout must be more than nothing; it is %s", c.Stop)}
	case (c.AdminUsername == "") != (c.AdminPassword == ""):
		return &usageError{text: "ADMIN_USERNAME and ADMIN_PASSWORD belong together; only one of them is given"}
	case c.AdminAPIKey != "" && c.AdminUsername == "":
		return &usageError{text: "ADMIN_API_KEY needs ADMIN_USERNAME and ADMIN_PASSWORD: it is the key of that user"}
	}
	return nil
}

// checkDoor puts in where a door for machines listens and under which address others
// reach it, where that was not said.
func checkDoor(name, host, port string, listen, address *string) error {
	switch {
	case *listen == "off":
		*address = ""
		return nil
	case *listen == "":
		*listen = net.JoinHostPort(host, port)
	default:
		var err error
		if host, port, err = net.SplitHostPort(*listen); err != nil {
			return &usageError{text: fmt.Sprintf("--%s must be host:port or off; it is %q", name, *listen)}
		}
	}
	if *address == "" {
		*address = net.JoinHostPort(reachable(host), port)
	} else if _, _, err := net.SplitHostPort(*address); err != nil {
		return &usageError{text: fmt.Sprintf("--%s-address must be host:port; it is %q", name, *address)}
	}
	return nil
}

// reachable is the name by which others reach a host that somebody listens on: that of
// the machine when it listens everywhere.
func reachable(host string) string {
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// secure reports whether browsers and API clients reach us over TLS.
func (c *Config) secure() bool {
	return c.TLS == "on" || c.TLS == "auto" && (c.TLSCert != "" || !loopback(c.Listen))
}

// loopback reports whether an address is of this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// url is where people reach a server that listens on address.
func (c *Config) url(address string) string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	scheme := "http"
	if c.secure() {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return scheme + "://" + address
	}
	return scheme + "://" + net.JoinHostPort(reachable(host), port)
}

// secrets are the values that no log may show.
func (c *Config) secrets() []string {
	return []string{c.MasterKey, c.OldMasterKey, c.AdminPassword, c.AdminAPIKey}
}
