package versions

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// TemplateContext is what a version template may refer to. Last versions are empty
// when there is no release yet.
type TemplateContext struct {
	Last          string // highest version of the project
	LastInChannel string // highest version in the channel
	Channel       string // name
	Now           time.Time
}

// Next makes the version of a new release from a template such as
// "#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}"
// or a mask such as "2.1.i" (i: one more than the last, c: the same as the last).
// The errors are [errs.Invalid].
func Next(template string, ctx TemplateContext) (string, error) {
	out, err := expand(template, ctx)
	if err != nil {
		return "", err
	}
	last := parts(ctx.Last)
	head, tail := out, ""
	if i := strings.IndexAny(out, "-+"); i >= 0 {
		head, tail = out[:i], out[i:]
	}
	fields := strings.Split(head, ".")
	raised := false
	for i, f := range fields {
		n := uint64(0)
		if i < 4 {
			n = last.numbers[i]
		}
		switch f {
		case "i":
			if !raised && (sameBefore(fields[:i], last) || ctx.Last == "") {
				n++
			} else {
				n = 0 // a number in front grew, so counting starts anew
			}
			if ctx.Last == "" {
				n = 1
			}
			fields[i], raised = strconv.FormatUint(n, 10), true
		case "c":
			fields[i] = strconv.FormatUint(n, 10)
		}
	}
	out = strings.Join(fields, ".") + tail
	if _, err := Parse(out); err != nil {
		return "", errs.Wrap(errs.Invalid, err, "The version template '%s' gives '%s', which is no version.", template, out).WithHint("Change the versioning of the project, or type a version.")
	}
	return out, nil
}

func parts(text string) Version {
	v, _ := Parse(text)
	return v
}

// sameBefore reports whether the numbers in front are those of the last version.
func sameBefore(fields []string, last Version) bool {
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil || i >= 4 || n != last.numbers[i] {
			return false
		}
	}
	return true
}

func expand(template string, ctx TemplateContext) (string, error) {
	var b strings.Builder
	rest := template
	for {
		before, after, found := strings.Cut(rest, "#{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return "", errs.New(errs.Invalid, "The version template '%s' has a #{ without a }.", template)
		}
		value, ok := lookup(strings.TrimSpace(name), ctx)
		if !ok {
			return "", errs.New(errs.Invalid, "The version template '%s' refers to '%s', which is not known there.", template, name)
		}
		b.WriteString(value)
		rest = tail
	}
}

func lookup(name string, ctx TemplateContext) (string, bool) {
	switch name {
	case "Octopus.Release.Channel.Name":
		return ctx.Channel, true
	case "Octopus.Date.Year":
		return strconv.Itoa(ctx.Now.Year()), true
	case "Octopus.Date.Month":
		return strconv.Itoa(int(ctx.Now.Month())), true
	case "Octopus.Date.Day":
		return strconv.Itoa(ctx.Now.Day()), true
	case "Octopus.Date.DayOfYear":
		return strconv.Itoa(ctx.Now.YearDay()), true
	case "Octopus.Time.Hour":
		return strconv.Itoa(ctx.Now.Hour()), true
	case "Octopus.Time.Minute":
		return strconv.Itoa(ctx.Now.Minute()), true
	case "Octopus.Time.Second":
		return strconv.Itoa(ctx.Now.Second()), true
	}
	which, ok := strings.CutPrefix(name, "Octopus.Version.")
	if !ok {
		return "", false
	}
	last := parts(ctx.Last)
	if inChannel, ok := strings.CutPrefix(which, "Channel."); ok {
		which, last = inChannel, parts(ctx.LastInChannel)
	}
	if which == "LastSuffix" {
		return last.Suffix(), true
	}
	for i, part := range []string{"Major", "Minor", "Patch", "Revision"} {
		n := last.numbers[i]
		switch which {
		case "Last" + part:
			return fmt.Sprint(n), true
		case "Next" + part:
			return fmt.Sprint(n + 1), true
		}
	}
	if which == "LastBuild" || which == "NextBuild" { // the third number, as .NET calls it
		return lookup(strings.Replace(name, "Build", "Patch", 1), ctx)
	}
	return "", false
}
