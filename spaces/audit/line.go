package audit

import (
	"strings"
	"time"
)

// Line is an entry as it leaves the server: in an export, in the file of a day and in what
// is streamed. As JSON, with the names of Octopus's API, it is one line; docs/formats/audit.md
// describes it.
type Line struct {
	ID            string    `json:"Id"`                  // counts up within its ledger, with gaps
	SpaceID       string    `json:"SpaceId,omitempty"`   // empty: the server's own ledger
	SpaceName     string    `json:"SpaceName,omitempty"` // only in what is streamed
	Occurred      time.Time `json:"Occurred"`
	UserID        string    `json:"UserId"`
	Username      string    `json:"Username"`
	Category      string    `json:"Category"`
	Message       string    `json:"Message"`
	Entity        string    `json:"Entity"`
	EntityID      string    `json:"EntityId"`
	ProjectID     string    `json:"ProjectId,omitempty"`
	EnvironmentID string    `json:"EnvironmentId,omitempty"`
	Reference     string    `json:"Reference,omitempty"`
	Via           string    `json:"Via"`
	IPAddress     string    `json:"IpAddress"`
	ChangeDetails *Details  `json:"ChangeDetails,omitempty"` // not in CSV
}

// Details are changes in the form of Octopus's API.
type Details struct {
	Differences []Difference `json:"Differences"`
}

// Difference is a change as RFC 6902 writes it, with the old value beside it.
type Difference struct {
	Op       string `json:"op"`   // add, remove or replace
	Path     string `json:"path"` // RFC 6901
	Value    string `json:"value,omitempty"`
	OldValue string `json:"oldValue,omitempty"`
	Secret   bool   `json:"secret,omitempty"` // neither value is told
	Cut      bool   `json:"cut,omitempty"`    // values were shortened to fit a message
}

// DetailsOf puts changes into the form of the API; nil for none.
func DetailsOf(all []Change) *Details {
	if len(all) == 0 {
		return nil
	}
	out := &Details{Differences: make([]Difference, 0, len(all))}
	for _, c := range all {
		d := Difference{Op: "replace", Path: "/" + strings.ReplaceAll(c.Field, "~", "~0"), Value: c.After, OldValue: c.Before, Secret: c.Secret}
		switch {
		case c.Secret:
		case c.Before == "":
			d.Op = "add"
		case c.After == "":
			d.Op = "remove"
		}
		out.Differences = append(out.Differences, d)
	}
	return out
}
