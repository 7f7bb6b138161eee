package spacetest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
)

// Spellings are the forms in which a text could lie open somewhere. In base64 it has one
// for each place in a group of three, whose ends depend on what stands beside it.
func Spellings(text string) map[string][]byte {
	out := map[string][]byte{"raw": []byte(text), "hex": []byte(hex.EncodeToString([]byte(text))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))), "URL": []byte(url.QueryEscape(text))}
	for i := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			b := enc.EncodeToString(append(make([]byte, i), text...))
			out[fmt.Sprint(name, " at ", i)] = []byte(b[[]int{0, 2, 3}[i] : len(b)-len(b)%4-1])
		}
	}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(text)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	out["UTF-16"], out["UTF-16, big end first"] = little, big
	return out
}
