package instance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// commonPasswords are some 30,000 of the most used passwords of known breaches, one a line:
// the list "passwords" of zxcvbn 4.4.2 (MIT, https://github.com/dropbox/zxcvbn), without
// those of three characters. It is read when a password is set, and not kept.
//
//go:embed common_passwords.txt.gz
var commonPasswords []byte

// easilyGuessed says why a password is among the first that somebody would try, or "". A
// password is one of those when it is a common one or a word of the person, as it stands, a
// few times over, or with digits and signs before, behind and for letters (ASVS 2.1.7).
func easilyGuessed(password string, of ...string) string {
	lower := strings.ToLower(password)
	seen := map[rune]bool{}
	for _, r := range lower {
		seen[r] = true
	}
	if len(seen) <= 4 {
		return "it has only a few different characters"
	}
	if isRow(lower) {
		return "it is a row of letters or digits"
	}
	trimmed := strings.TrimFunc(lower, func(r rune) bool { return !unicode.IsLetter(r) })
	bases := []string{lower}
	for _, text := range []string{strings.Map(onlyLetters, lower), trimmed, strings.Map(onlyLetters, leet.Replace(trimmed))} {
		if text = unit(text); len(text) >= 4 && !slices.Contains(bases, text) {
			bases = append(bases, text)
		}
	}
	for _, word := range of {
		word, _, _ = strings.Cut(strings.ToLower(word), "@")
		if word = strings.Map(onlyLetters, word); len(word) >= 3 && slices.ContainsFunc(bases[1:], func(b string) bool { return b == word }) || word != "" && unit(strings.Map(onlyLetters, lower)) == word {
			return "it is made of a name"
		}
	}
	if isCommon(bases) {
		return "it is a common one, or made of it"
	}
	return ""
}

var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

func onlyLetters(r rune) rune {
	if unicode.IsLetter(r) {
		return r
	}
	return -1
}

// isRow reports whether each character is as far from the one before: abc, 2468, 901.
func isRow(text string) bool {
	for i := 2; i < len(text); i++ {
		if (int(text[i])-int(text[i-1])-int(text[1])+int(text[0]))%10 != 0 {
			return false
		}
	}
	return true
}

// unit is what text repeats, or text.
func unit(text string) string {
	for n := 1; n <= len(text)/2; n++ {
		if len(text)%n == 0 && strings.Repeat(text[:n], len(text)/n) == text {
			return text[:n]
		}
	}
	return text
}

func isCommon(bases []string) bool {
	z, err := gzip.NewReader(bytes.NewReader(commonPasswords))
	if err != nil {
		panic(fmt.Sprintf("embedded list of passwords: %v", err))
	}
	for lines := bufio.NewScanner(z); lines.Scan(); {
		if slices.Contains(bases, lines.Text()) {
			return true
		}
	}
	return false
}
