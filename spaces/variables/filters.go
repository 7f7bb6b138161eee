package variables

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"octopuses.dev/octopuses/spaces/versions"
)

// filter changes a text; ok is false when it gives nothing, so that the source text
// stays. noInput filters need no value in front of them.
type filter struct {
	noInput bool
	apply   func(d *Dictionary, in string, args []string) (string, bool)
}

func simple(f func(string) string) filter {
	return filter{apply: func(_ *Dictionary, in string, args []string) (string, bool) { return f(in), len(args) == 0 }}
}

func withArgs(least, most int, f func(in string, args []string) (string, bool)) filter {
	return filter{apply: func(_ *Dictionary, in string, args []string) (string, bool) {
		if len(args) < least || len(args) > most {
			return "", false
		}
		return f(in, args)
	}}
}

func test(f func(in, arg string) bool) filter {
	return withArgs(1, 1, func(in string, args []string) (string, bool) { return strconv.FormatBool(f(in, args[0])), true })
}

// filters are Octostache's, by name in lower case. Markdown and YAML escapes are not
// among them; docs/variables.md says so.
var filters = map[string]filter{
	"tolower":    simple(strings.ToLower),
	"toupper":    simple(strings.ToUpper),
	"htmlescape": simple(func(s string) string { return strings.NewReplacer("/", "&#x2F;").Replace(html.EscapeString(s)) }),
	"xmlescape":  simple(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace),
	"jsonescape": simple(func(s string) string {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if enc.Encode(s) != nil {
			return ""
		}
		return strings.TrimSuffix(b.String(), "\"\n")[1:]
	}),
	"yamlsinglequoteescape":   simple(func(s string) string { return strings.ReplaceAll(s, "'", "''") }),
	"urlescape":               simple(url.QueryEscape),
	"uriescape":               simple(func(s string) string { return (&url.URL{Path: s}).EscapedPath() }),
	"uridataescape":           simple(func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }),
	"propertieskeyescape":     simple(strings.NewReplacer(`\`, `\\`, ":", `\:`, "=", `\=`, " ", `\ `, "\n", `\n`, "\r", `\r`, "\t", `\t`, "#", `\#`, "!", `\!`).Replace),
	"propertiesvalueescape":   simple(strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace),
	"startswith":              test(strings.HasPrefix),
	"endswith":                test(strings.HasSuffix),
	"contains":                test(strings.Contains),
	"versionmajor":            ofVersion(func(v versions.Version) string { return strconv.FormatUint(v.Major(), 10) }),
	"versionminor":            ofVersion(func(v versions.Version) string { return strconv.FormatUint(v.Minor(), 10) }),
	"versionpatch":            ofVersion(func(v versions.Version) string { return strconv.FormatUint(v.Patch(), 10) }),
	"versionrevision":         ofVersion(func(v versions.Version) string { return strconv.FormatUint(v.Revision(), 10) }),
	"versionprerelease":       ofVersion(func(v versions.Version) string { return v.Prerelease() }),
	"versionprereleaseprefix": ofVersion(func(v versions.Version) string { p, _, _ := strings.Cut(v.Prerelease(), "."); return p }),
	"versionmetadata": ofVersion(func(v versions.Version) string {
		_, m, _ := strings.Cut(v.Suffix(), "+")
		return m
	}),
	"match": withArgs(1, 1, func(in string, args []string) (string, bool) {
		re, err := regexp.Compile(args[0])
		if err != nil {
			return "", false
		}
		return strconv.FormatBool(re.MatchString(in)), true
	}),
	"replace": withArgs(1, 2, func(in string, args []string) (string, bool) {
		re, err := regexp.Compile(args[0])
		if err != nil {
			return "", false
		}
		with := ""
		if len(args) == 2 {
			// .NET writes $1 where Go wants ${1}.
			with = regexp.MustCompile(`\$(\d+)`).ReplaceAllString(args[1], "$${$1}")
		}
		return re.ReplaceAllString(in, with), true
	}),
	"trim": withArgs(0, 1, func(in string, args []string) (string, bool) {
		switch {
		case len(args) == 0:
			return strings.TrimSpace(in), true
		case strings.EqualFold(args[0], "start"):
			return strings.TrimLeft(in, " \t\r\n"), true
		case strings.EqualFold(args[0], "end"):
			return strings.TrimRight(in, " \t\r\n"), true
		}
		return "", false
	}),
	"truncate": withArgs(1, 2, func(in string, args []string) (string, bool) {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 {
			return "", false
		}
		if r := []rune(in); len(r) > n {
			tail := "..."
			if len(args) == 2 {
				tail = args[1]
			}
			return string(r[:n]) + tail, true
		}
		return in, true
	}),
	"substring": withArgs(1, 2, func(in string, args []string) (string, bool) {
		r := []rune(in)
		start := 0
		n, err := strconv.Atoi(args[len(args)-1])
		if err == nil && len(args) == 2 {
			start, err = strconv.Atoi(args[0])
		}
		if err != nil || start < 0 || n < 0 || start > len(r) {
			return "", false
		}
		return string(r[start:min(start+n, len(r))]), true
	}),
	"append":  withArgs(1, 64, func(in string, args []string) (string, bool) { return in + strings.Join(args, ""), true }),
	"prepend": withArgs(1, 64, func(in string, args []string) (string, bool) { return strings.Join(args, "") + in, true }),
	"indent":  withArgs(0, 1, indent),
	"tobase64": withArgs(0, 1, func(in string, args []string) (string, bool) {
		b, ok := encode(in, args)
		return base64.StdEncoding.EncodeToString(b), ok
	}),
	"frombase64": withArgs(0, 1, func(in string, args []string) (string, bool) {
		b, err := base64.StdEncoding.DecodeString(in)
		if err != nil {
			return "", false
		}
		if len(args) == 1 && strings.EqualFold(args[0], "unicode") {
			u := make([]uint16, len(b)/2)
			for i := range u {
				u[i] = binary.LittleEndian.Uint16(b[2*i:])
			}
			return string(utf16.Decode(u)), true
		}
		return string(b), true
	}),
	"md5":    digest(func(b []byte) []byte { s := md5.Sum(b); return s[:] }),
	"sha1":   digest(func(b []byte) []byte { s := sha1.Sum(b); return s[:] }),
	"sha256": digest(func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }),
	"sha384": digest(func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }),
	"sha512": digest(func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }),
	"uripart": withArgs(1, 1, func(in string, args []string) (string, bool) {
		u, err := url.Parse(in)
		if err != nil || u.Scheme == "" {
			return "", false
		}
		switch strings.ToLower(args[0]) {
		case "scheme":
			return u.Scheme, true
		case "host":
			return u.Hostname(), true
		case "port":
			if p := u.Port(); p != "" {
				return p, true
			}
			return map[string]string{"http": "80", "https": "443"}[u.Scheme], true
		case "authority":
			return u.Host, true
		case "path", "absolutepath":
			return u.EscapedPath(), true
		case "query":
			if u.RawQuery == "" {
				return "", true
			}
			return "?" + u.RawQuery, true
		case "fragment":
			return u.Fragment, true
		case "userinfo":
			return u.User.String(), true
		case "absoluteuri":
			return u.String(), true
		}
		return "", false
	}),
	"nowdate":    {noInput: true, apply: func(d *Dictionary, _ string, args []string) (string, bool) { return date(d.now().Local(), args) }},
	"nowdateutc": {noInput: true, apply: func(d *Dictionary, _ string, args []string) (string, bool) { return date(d.now().UTC(), args) }},
	"format":     withArgs(1, 2, format),
}

func ofVersion(f func(versions.Version) string) filter {
	return withArgs(0, 0, func(in string, _ []string) (string, bool) {
		v, err := versions.Parse(strings.TrimSpace(in))
		if err != nil {
			return "", false
		}
		return f(v), true
	})
}

func encode(in string, args []string) ([]byte, bool) {
	if len(args) == 0 || strings.EqualFold(args[0], "utf8") {
		return []byte(in), true
	}
	if !strings.EqualFold(args[0], "unicode") {
		return nil, false
	}
	var b []byte
	for _, u := range utf16.Encode([]rune(in)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b, true
}

func digest(f func([]byte) []byte) filter {
	return withArgs(0, 2, func(in string, args []string) (string, bool) {
		size := 0
		if len(args) > 0 {
			n, err := strconv.Atoi(args[0])
			if err == nil {
				size, args = n, args[1:]
			}
		}
		b, ok := encode(in, args)
		if !ok {
			return "", false
		}
		sum := f(b)
		if size > 0 && size < len(sum) {
			sum = sum[:size]
		}
		return hex.EncodeToString(sum), true
	})
}

func indent(in string, args []string) (string, bool) {
	first, rest := "    ", "    "
	if len(args) == 1 {
		a, b, two := strings.Cut(args[0], "/")
		n, errN := strconv.Atoi(a)
		m := n
		var errM error
		if two {
			m, errM = strconv.Atoi(b)
		}
		if errN == nil && errM == nil {
			if n < 0 || m < 0 || n > 255 || m > 255 {
				return "", false
			}
			first, rest = strings.Repeat(" ", n), strings.Repeat(" ", m)
		} else {
			first, rest = args[0], args[0]
		}
	}
	return first + strings.ReplaceAll(in, "\n", "\n"+rest), true
}

func (d *Dictionary) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

func date(t time.Time, args []string) (string, bool) {
	switch len(args) {
	case 0:
		return t.Format("2006-01-02T15:04:05.0000000Z07:00"), true
	case 1:
		return t.Format(layout(args[0])), true
	}
	return "", false
}

// layout turns the common custom date formats of .NET into Go's.
func layout(net string) string {
	return strings.NewReplacer("yyyy", "2006", "yy", "06", "MMMM", "January", "MMM", "Jan", "MM", "01", "M", "1", "dddd", "Monday", "ddd", "Mon", "dd", "02", "d", "2",
		"HH", "15", "hh", "03", "h", "3", "mm", "04", "ss", "05", "fff", "000", "tt", "PM", "zzz", "-07:00", "K", "Z07:00").Replace(net)
}

// format formats a number or a date with the common formats of .NET: F2, N0, D3, X,
// P1, 0.00, and custom dates.
func format(in string, args []string) (string, bool) {
	pattern := args[len(args)-1]
	kind := ""
	if len(args) == 2 {
		kind = strings.ToLower(args[0])
	}
	in = strings.TrimSpace(in)
	if v, err := strconv.ParseFloat(in, 64); err == nil && !strings.HasPrefix(kind, "date") {
		return number(v, pattern)
	}
	for _, l := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(l, in); err == nil {
			return t.Format(layout(pattern)), true
		}
	}
	return "", false
}

func number(v float64, pattern string) (string, bool) {
	if strings.Trim(pattern, "0#.") == "" && pattern != "" {
		whole, fraction, _ := strings.Cut(pattern, ".")
		s := strconv.FormatFloat(v, 'f', len(fraction), 64)
		if strings.Contains(fraction, "#") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		for width := strings.Count(whole, "0"); len(strings.SplitN(strings.TrimPrefix(s, "-"), ".", 2)[0]) < width; {
			s = strings.Replace("-0"+strings.TrimPrefix(s, "-"), "-", map[bool]string{true: "-", false: ""}[v < 0], 1)
		}
		return s, true
	}
	digits := -1
	if len(pattern) > 1 {
		n, err := strconv.Atoi(pattern[1:])
		if err != nil || n < 0 || n > 30 {
			return "", false
		}
		digits = n
	}
	or := func(n int) int {
		if digits < 0 {
			return n
		}
		return digits
	}
	switch strings.ToUpper(pattern[:min(1, len(pattern))]) {
	case "F":
		return strconv.FormatFloat(v, 'f', or(2), 64), true
	case "N":
		return thousands(strconv.FormatFloat(v, 'f', or(2), 64)), true
	case "P":
		return thousands(strconv.FormatFloat(v*100, 'f', or(2), 64)) + " %", true
	case "D":
		s := strconv.FormatInt(int64(v), 10)
		for len(s) < digits {
			s = "0" + s
		}
		return s, v == float64(int64(v))
	case "X":
		s := strconv.FormatInt(int64(v), 16)
		for len(s) < digits {
			s = "0" + s
		}
		if pattern[0] == 'X' {
			s = strings.ToUpper(s)
		}
		return s, v == float64(int64(v))
	}
	return "", false
}

func thousands(s string) string {
	whole, fraction, _ := strings.Cut(s, ".")
	start := 0
	if strings.HasPrefix(whole, "-") {
		start = 1
	}
	for i := len(whole) - 3; i > start; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}
