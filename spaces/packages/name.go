package packages

import (
	"regexp"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/versions"
)

// extensions are the formats of packages; longer ones first.
var extensions = []string{".tar.bz2", ".tar.gz", ".nupkg", ".tgz", ".tbz", ".tar", ".zip", ".jar", ".war", ".ear"}

// identifier is what Octopus's clients take for a package id.
var identifier = regexp.MustCompile(`^\w+([_.-]\w+)*$`)

// versionTail finds where the version begins: behind the first dot after which all
// that follows reads as one.
var versionTail = regexp.MustCompile(`^\d+(\.\d+){0,3}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// ParseFileName takes a file name such as "Acme.Web.1.2.3-beta.zip" apart. The
// extension has its dot. The error is [errs.Invalid] and tells what is missing.
func ParseFileName(name string) (id, version, extension string, err error) {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	invalid := func(why string) error {
		return errs.New(errs.Invalid, "The file name '%.120s' %s.", name, why).WithHint("Name the file <id>.<version>.<extension>, for example Acme.Web.1.2.3.zip.")
	}
	stem := ""
	for _, e := range extensions {
		if len(name) > len(e) && strings.EqualFold(name[len(name)-len(e):], e) {
			stem, extension = name[:len(name)-len(e)], e
			break
		}
	}
	if stem == "" {
		return "", "", "", invalid("has no extension of a package (" + strings.Join(extensions, ", ") + ")")
	}
	for i := 0; i < len(stem); i++ {
		if stem[i] != '.' || !versionTail.MatchString(stem[i+1:]) || !identifier.MatchString(stem[:i]) {
			continue
		}
		if _, err := versions.Parse(stem[i+1:]); err != nil {
			continue
		}
		return stem[:i], stem[i+1:], extension, CheckID(stem[:i])
	}
	return "", "", "", invalid("has no version")
}

// CheckID is nil for a package id, and [errs.Invalid] otherwise.
func CheckID(id string) error {
	if len(id) > 100 || !identifier.MatchString(id) {
		return errs.New(errs.Invalid, "'%.120s' is no package id.", id).WithHint("Use at most 100 letters, digits and underscores, with single dots or hyphens between them.")
	}
	return nil
}

// FormatFileName is the inverse of [ParseFileName].
func FormatFileName(id, version, extension string) string { return id + "." + version + extension }
