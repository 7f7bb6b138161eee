package execution

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMaskerText(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"none", nil, "plain", "plain"},
		{"middle and ends", []string{"hunter2"}, "hunter2 is hunter2", "******** is ********"},
		{"short ones stay", []string{"abc", "ab"}, "abc", "abc"},
		{"four bytes", []string{"abcd"}, "xabcdx", "x********x"},
		{"longest wins", []string{"pass", "password"}, "password pass", "******** ********"},
		{"overlapping leave no end", []string{"abcdefgh", "efghijkl"}, "xabcdefghijklx", "x********x"},
		{"overlapping themselves", []string{"aaaa"}, "aaaaaaa", "********"},
		{"lines of a key", []string{"-----BEGIN-----\r\nMIIBVQ\n\nAgEA\n"}, "  MIIBVQ  AgEA", "  ********  ********"},
		{"spaces around", []string{"  secret \n"}, "[secret]", "[********]"},
		{"not ASCII", []string{"пароль"}, "это пароль.", "это ********."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Masker{}
			for _, s := range tt.secrets {
				m.Add(s)
			}
			if got := m.Text(tt.text); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// written is what a stream logs when it is written in pieces of n bytes.
func written(t testing.TB, m *Masker, text string, n int) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLogger(f, m)
	s := &stream{log: l, category: "Info", standard: "Info"}
	for b := []byte(text); len(b) > 0; b = b[min(n, len(b)):] {
		s.Write(b[:min(n, len(b))])
	}
	s.end()
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// However a script writes it, a secret is not in the log.
func TestStreamHidesSecretsSplitOverWrites(t *testing.T) {
	m := &Masker{}
	m.Add("correct-horse-battery")
	m.Add("line one\nline two of it")
	text := strings.Repeat("x", longestLine-10) + "correct-horse-battery" + strings.Repeat("y", longestLine) + "correct-horse-battery\nline one\nline two of it"
	for _, n := range []int{1 << 10, 4093, 32 << 10, 1 << 20} {
		log := written(t, m, text, n)
		for _, s := range []string{"correct", "battery", "line one", "line two"} {
			if strings.Contains(log, s) {
				t.Errorf("in pieces of %d bytes the log shows %q", n, s)
			}
		}
		if strings.Count(log, Mask) != 4 {
			t.Errorf("in pieces of %d bytes there are %d masks", n, strings.Count(log, Mask))
		}
	}
}

// A message that is longer than a line may be logged in parts would show a secret in
// base64.
func TestStreamKeepsLongMessagesWhole(t *testing.T) {
	m := &Masker{}
	value := strings.Repeat("QUFB", longestLine)
	log := written(t, m, "##octopus[setVariable name='QQ==' value='"+value+"' sensitive='VHJ1ZQ==']\nnext\n", 4096)
	if strings.Contains(log, "QUFB") || strings.Count(log, "\n") != 1 || !strings.Contains(log, "next") {
		t.Errorf("the log is %.300s", log)
	}
	log = written(t, m, "##octopus[setVariable name='QQ==' value='"+strings.Repeat("QUFB", longestMessage)+"']\nnext\n", 32<<10)
	if strings.Contains(log, "QUFB") || !strings.Contains(log, "was ignored") || !strings.Contains(log, "next") {
		t.Errorf("the log is %.300s", log)
	}
}

func TestStreamStopsAtAFullLog(t *testing.T) {
	m := &Masker{}
	line := strings.Repeat("z", 32<<10) + "\n"
	log := written(t, m, strings.Repeat(line, longestLog/len(line)+50), 1<<20)
	if len(log) > longestLog+1<<20 || strings.Count(log, "is left out") != 1 {
		t.Errorf("%d bytes, and it is said %d times", len(log), strings.Count(log, "is left out"))
	}
}

func FuzzStreamHidesSecrets(f *testing.F) {
	f.Add("secret", "say secret now\nse", uint8(3))
	f.Add("aaaa", "aaaaaaaaaaaa", uint8(1))
	f.Add("a\nbcde", "a\nbcde\r\n##octopus[mask value='YmNkZQ==']", uint8(2))
	f.Fuzz(func(t *testing.T, secret, text string, n uint8) {
		m := &Masker{}
		m.Add(secret)
		if strings.Contains(Mask, secret) || strings.ContainsAny(secret, "\r\n") || len(strings.TrimSpace(secret)) < shortest || strings.ContainsRune(secret, '\uFFFD') {
			return
		}
		s := strings.TrimSpace(secret)
		if strings.Contains(s, "*") {
			return // may grow together with a mask
		}
		cut := m.Cut(text)
		if out := m.Text(text[:cut]); strings.Contains(out, s) {
			t.Fatalf("%q shows %q", out, s)
		}
		if whole := m.Text(text); cut < len(text) && strings.Contains(m.Text(text[:cut])+m.Text(text[cut:]), s) && !strings.Contains(whole, s) {
			t.Fatalf("cut at %d of %q shows %q", cut, text, s)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add("##octopus[setVariable name='QQ==' value=\"Qg==\"]")
	f.Add("  ##octopus[stdout-verbose]\r")
	f.Add("##octopus[]")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parseMessage(line)
		if ok && (m.attrs == nil || m.verb != strings.ToLower(m.verb)) {
			t.Errorf("%+v", m)
		}
	})
}

// Budget: 200 MB/s with 50 secrets, for a log that holds none and for one that holds
// one in each line; 50 MB/s for one that is nothing but beginnings of them.
func BenchmarkMasker(b *testing.B) {
	m := &Masker{}
	for i := range 50 {
		m.Add(fmt.Sprintf("secret-number-%d", i))
	}
	line := strings.Repeat("an ordinary line of a build log, with nothing to hide in it ", 16)
	for name, text := range map[string]string{"nothing": line, "one": line + "secret-number-7", "worst": strings.Repeat("secret-number-", 70)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				m.Text(text)
			}
		})
	}
}

// Budget: 50 MB/s from what a script prints to the file of its log.
func BenchmarkStream(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	m := &Masker{}
	m.Add("something-secret")
	l := newLogger(f, m)
	s := &stream{log: l, category: "Info", standard: "Info"}
	chunk := []byte(strings.Repeat("an ordinary line of a build log, with nothing to hide in it\n", 500))
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		l.size = 0
		s.Write(chunk)
	}
}

func TestMaskerNeverTearsASecret(t *testing.T) {
	m := &Masker{}
	m.Add("abcdefgh")
	m.Add("efghijkl")
	text := strings.Repeat("xyz", 10) + "abcdefghijkl" + strings.Repeat("q", 10)
	for n := 1; n <= len(text); n++ {
		cut := m.Cut(text[:n])
		if out := m.Text(text[:cut]) + m.Text(text[cut:]); strings.ContainsAny(out, "abcdefghijkl") {
			t.Fatalf("cut of %d at %d: %s", n, cut, out)
		}
	}
}

func TestAppendEntryIsJSON(t *testing.T) {
	n := 7
	for _, e := range []LogEntry{{Category: "Info", Text: "plain ~ text"}, {Category: "Info"}, {Category: "Error", Text: "a \"quote\" \\ <b> \t \u2028 é"}, {Category: "Info", Text: "p", Percent: &n}} {
		e.Time = time.Date(2026, 11, 23, 16, 0, 0, 123456789, time.UTC)
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendEntry(nil, e); string(got) != string(want)+"\n" {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
