package web

import (
	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func auditStream(r *request) error {
	c, set, err := r.s.Instance.Collector(r.ctx)
	if err != nil {
		return err
	}
	m := account.Stream{Page: r.pageFor("Streaming of the audit", ""), Set: set, Kind: c.Kind, Address: c.Address, Roots: c.Roots, Token: c.Token != "", Enabled: c.IsEnabled || !set, Since: c.Since}
	if set && r.s.Streaming != nil {
		s, err := r.s.Streaming(r.ctx)
		if err != nil {
			return err
		}
		m.Sent, m.LastSent, m.Failing, m.FailingSince, m.Next, m.Waiting = s.Sent, s.LastSent, s.Failing, s.Since, s.NextTry, s.Waiting
	}
	return r.render(fiber.StatusOK, account.ShowStream(m))
}

func saveAuditStream(r *request) error {
	in := instance.Collector{Kind: r.value("kind"), Address: r.value("address"), Token: r.value("token"), Roots: r.value("roots"), IsEnabled: r.checked("enabled")}
	err := collector.Config{Kind: in.Kind, Address: in.Address, Token: in.Token, Roots: in.Roots}.Check()
	if err == nil {
		_, err = r.s.Instance.SetCollector(r.ctx, r.system, in)
	}
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			return account.ShowStream(account.Stream{Page: r.pageFor("Streaming of the audit", ""), Kind: in.Kind, Address: in.Address, Roots: in.Roots, Enabled: in.IsEnabled, Errors: e})
		})
	}
	return r.see(views.AuditStreamURL())
}

func deleteAuditStream(r *request) error {
	if err := r.s.Instance.DeleteCollector(r.ctx, r.system); err != nil {
		return err
	}
	return r.see(views.AuditStreamURL())
}
