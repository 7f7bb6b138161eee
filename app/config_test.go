package app

import "testing"

// Whether TLS is on, and under which address we say we are, decides what agents and
// browsers are told.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, tls, cert, public, bound string
		secure                           bool
		url                              string
	}{
		{"127.0.0.1:8080", "auto", "", "", "127.0.0.1:8080", false, "http://127.0.0.1:8080"},
		{"localhost:0", "auto", "", "", "127.0.0.1:4711", false, "http://127.0.0.1:4711"},
		{"[::1]:80", "auto", "", "", "[::1]:80", false, "http://[::1]:80"},
		{"10.1.2.3:443", "auto", "", "", "10.1.2.3:443", true, "https://10.1.2.3:443"},
		{"10.1.2.3:80", "off", "", "https://deploy.example.com/", "10.1.2.3:80", false, "https://deploy.example.com"},
		{"127.0.0.1:8443", "auto", "c.pem", "", "127.0.0.1:8443", true, "https://127.0.0.1:8443"},
		{"127.0.0.1:8443", "on", "", "", "127.0.0.1:8443", true, "https://127.0.0.1:8443"},
		{"example.com:443", "auto", "", "", "192.0.2.1:443", true, "https://192.0.2.1:443"},
	} {
		cfg := Config{Listen: c.listen, TLS: c.tls, TLSCert: c.cert, PublicURL: c.public}
		if cfg.secure() != c.secure || cfg.url(c.bound) != c.url {
			t.Errorf("%+v: secure %v, url %s; want %v, %s", cfg, cfg.secure(), cfg.url(c.bound), c.secure, c.url)
		}
	}
}

// FuzzConfigFile: whatever a file holds, it is taken or refused with a sentence.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{"listen = \"127.0.0.1:1\"", "task-cap = 3", "trusted-proxies = [\"a\", 1]", "[listen]\nx=1", "stop-timeout = 1979-05-27", "data = \"x\"", "="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s := newSettings()
		if err := s.applyFile("octopuses.toml", content, true); err != nil && err.Error() == "" {
			t.Error("refused without a word")
		}
	})
}
