package spaces

import (
	"database/sql"
	"time"
)

// TimeFormat is how times stand in the file: UTC, milliseconds, fixed width, so
// that they sort as text and a person can read a copied file.
const TimeFormat = "2006-01-02T15:04:05.000Z"

func formatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

func formatTimePtr(t *time.Time) any {
	if t == nil || t.IsZero() {
		return nil
	}
	return formatTime(*t)
}

func parseTime(s string) time.Time {
	t, _ := time.Parse(TimeFormat, s)
	return t
}

func parseTimePtr(s sql.NullString) *time.Time {
	if !s.Valid || s.String == "" {
		return nil
	}
	t := parseTime(s.String)
	return &t
}

// nullText is a column that may be NULL.
type nullText = sql.NullString
