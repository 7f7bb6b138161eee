package api

import (
	"time"

	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

func auditStreamRoutes() []Row {
	return []Row{
		get("/configuration/audit-stream/values", SignedIn, access.AdministerSystem, showAuditStream),
		put("/configuration/audit-stream/values", SignedIn, access.AdministerSystem, saveAuditStream),
		del("/configuration/audit-stream/values", SignedIn, access.AdministerSystem, deleteAuditStream),
	}
}

// auditStreamResource is the collector of the audit; without one its Kind is empty. The
// token is only taken.
type auditStreamResource struct {
	Kind      string     `json:"Kind"`
	Address   string     `json:"Address"`
	Roots     string     `json:"Roots"`
	IsEnabled bool       `json:"IsEnabled"`
	Token     sensitive  `json:"Token"`
	Since     *time.Time `json:"Since,omitempty"`
	Sent      int64      `json:"Sent"`
	Failing   string     `json:"Failing,omitempty"`
	Waiting   int        `json:"SpacesWaiting"`
}

// sensitive is a value that goes in and never out, as clients know it.
type sensitive struct {
	HasValue bool    `json:"HasValue"`
	NewValue *string `json:"NewValue,omitempty"`
}

func (r *request) auditStream() (auditStreamResource, error) {
	c, set, err := r.s.Instance.Collector(r.ctx)
	if err != nil || !set {
		return auditStreamResource{}, err
	}
	out := auditStreamResource{Kind: c.Kind, Address: c.Address, Roots: c.Roots, IsEnabled: c.IsEnabled, Token: sensitive{HasValue: c.Token != ""}, Since: &c.Since}
	if r.s.Streaming != nil {
		s, err := r.s.Streaming(r.ctx)
		if err != nil {
			return out, err
		}
		out.Sent, out.Failing, out.Waiting = s.Sent, s.Failing, s.Waiting
	}
	return out, nil
}

func showAuditStream(r *request) error {
	out, err := r.auditStream()
	if err != nil {
		return err
	}
	return r.ok(out)
}

func saveAuditStream(r *request) error {
	stored, err := r.auditStream()
	if err != nil {
		return err
	}
	in, err := readOver[auditStreamResource](r, stored)
	if err != nil {
		return err
	}
	c := instance.Collector{Kind: in.Kind, Address: in.Address, Roots: in.Roots, IsEnabled: in.IsEnabled}
	if in.Token.NewValue != nil {
		c.Token = *in.Token.NewValue
	}
	if err := (collector.Config{Kind: c.Kind, Address: c.Address, Token: c.Token, Roots: c.Roots}).Check(); err != nil {
		return err
	}
	if _, err := r.s.Instance.SetCollector(r.ctx, r.system, c); err != nil {
		return err
	}
	return showAuditStream(r)
}

func deleteAuditStream(r *request) error {
	if err := r.s.Instance.DeleteCollector(r.ctx, r.system); err != nil {
		return err
	}
	return r.gone()
}
