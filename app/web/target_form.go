package web

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/infrastructure"
	"octopuses.dev/octopuses/views/ui"
)

// AgentToken is what a person gives an agent to register with. Text is secret.
type AgentToken struct {
	Text    string
	URL     string // of this server, as the agent will call it
	Server  string // thumbprint of the server, which the agent will trust
	Polling bool   // the server takes polling agents
}

func (r *request) targetForm(t spaces.Target, in spaces.TargetInput) (m infrastructure.TargetForm, err error) {
	m = infrastructure.TargetForm{Slug: t.Slug, Stored: t.Name, Name: in.Name, Tags: strings.Join(in.Tags, ", "), Address: in.URI, Thumb: in.Thumbprint, Polling: t.Style == spaces.StylePolling, Disabled: in.IsDisabled}
	_, err = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		uses, err := tx.UsesOfTarget(t.ID)
		if err != nil {
			return struct{}{}, err
		}
		m.Uses = usesText(uses)
		m.Environments, m.Known, err = placement(tx, access.MachineEdit, func(e spaces.Environment) bool { return slices.Contains(in.Environments, e.ID) })
		return struct{}{}, err
	})
	m.CanEdit, m.Why = r.canAll(access.MachineEdit, t)
	m.CanDelete, m.WhyDelete = r.canAll(access.MachineDelete, t)
	m.Page = r.pageFor("Edit "+t.Name, "Infrastructure")
	m.Page.Crumbs = []ui.Crumb{{Label: "Targets", Href: views.TargetsURL(r.about.Slug)}, {Label: t.Name, Href: views.TargetURL(r.about.Slug, t.Slug)}, {Label: "Edit"}}
	return m, err
}

func editTarget(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	m, err := r.targetForm(t, targetInput(t))
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, infrastructure.ShowTargetForm(m))
}

// targetAgain shows the form with what was typed and what is wrong with it.
func (r *request) targetAgain(err error, t spaces.Target, in spaces.TargetInput, deleting bool) error {
	m, ferr := r.targetForm(t, in)
	if ferr != nil {
		return ferr
	}
	return r.again(err, nil, func(wrong []ui.FieldError) templ.Component {
		m.Errors = wrong
		if deleting {
			m.DeleteErrors = wrong
		}
		return infrastructure.ShowTargetForm(m)
	})
}

func saveTarget(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	in := targetInput(t)
	in.Name, in.Tags, in.Environments, in.IsDisabled, in.Thumbprint = r.value("name"), tags(r.value("tags")), r.chosenEnvironments(), r.checked("disabled"), r.value("thumbprint")
	if t.Style == spaces.StyleListening {
		in.URI = r.value("address")
	}
	saved, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Target, error) { return tx.UpdateTarget(t.ID, in) })
	if err != nil {
		return r.targetAgain(err, t, in, false)
	}
	return r.see(views.TargetURL(r.about.Slug, saved.Slug))
}

func deleteTarget(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	if err = r.typedName(t.Name); err == nil {
		err = spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteTarget(t.ID) })
	}
	if err != nil {
		return r.targetAgain(err, t, targetInput(t), true)
	}
	return r.see(views.TargetsURL(r.about.Slug))
}

func (r *request) newTargetForm(m infrastructure.NewTarget, chosen func(spaces.Environment) bool) (infrastructure.NewTarget, error) {
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		var err error
		m.Environments, m.Known, err = placement(tx, access.MachineCreate, chosen)
		return struct{}{}, err
	})
	m.CanAdd, m.Why = r.can(access.MachineCreate, access.Scope{})
	if r.s.AgentToken == nil {
		m.CanAdd, m.Why = false, "This server registers no agents."
	} else if len(m.Environments) == 0 {
		m.CanAdd, m.Why = false, "Add an environment first; a target stands in one."
	}
	m.Page = r.pageFor("Add a target", "Infrastructure")
	m.Page.Crumbs = []ui.Crumb{{Label: "Targets", Href: views.TargetsURL(r.about.Slug)}, {Label: "New"}}
	return m, err
}

func newTarget(r *request) error {
	want := r.Query("environment")
	m, err := r.newTargetForm(infrastructure.NewTarget{Uses: "1", Hours: "1"}, func(e spaces.Environment) bool { return want != "" && (want == e.Slug || want == e.ID.String()) })
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, infrastructure.ShowNewTarget(m))
}

// createRegistration makes the token and shows the command, this once: it stands in the
// answer and in no URL.
func createRegistration(r *request) error {
	if r.s.AgentToken == nil {
		return errs.New(errs.Unavailable, "This server registers no agents.")
	}
	typed := infrastructure.NewTarget{Name: r.value("name"), Tags: r.value("tags"), Uses: r.value("uses"), Hours: r.value("hours")}
	uses, uerr := strconv.Atoi(typed.Uses)
	hours, herr := strconv.Atoi(typed.Hours)
	in := spaces.RegistrationInput{Environments: r.chosenEnvironments(), Tags: tags(typed.Tags), Uses: uses, Lasts: time.Duration(hours) * time.Hour}
	var c errs.Check
	c.Require(uerr == nil && uses > 0, "uses", "Say for how many machines, from 1 to 1000.")
	c.Require(herr == nil && hours > 0 && hours <= 7*24, "lasts", "A token lasts at most 7 days.")
	c.Require(typed.Name == "" || uses == 1, "name", "Several machines cannot have one name; leave it empty, so that each has its own.")
	c.Require(len([]rune(typed.Name)) <= 200 && !strings.ContainsFunc(typed.Name, func(x rune) bool { return x < ' ' || x == 0x7f }), "name", "The name has at most 200 characters, none of them invisible.")
	err := c.Err()
	var id spaces.RegistrationID
	var secret string
	if err == nil {
		secret, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (s string, err error) {
			id, s, err = tx.CreateRegistration(in)
			return s, err
		})
	}
	if err != nil {
		m, ferr := r.newTargetForm(typed, func(e spaces.Environment) bool { return slices.Contains(in.Environments, e.ID) })
		if ferr != nil {
			return ferr
		}
		return r.again(err, nil, func(wrong []ui.FieldError) templ.Component {
			m.Errors = wrong
			return infrastructure.ShowNewTarget(m)
		})
	}
	m, err := r.registration(id)
	if err != nil {
		return err
	}
	commands(&m, r.s.AgentToken(secret, r.about.ID()), typed.Name)
	return r.render(fiber.StatusOK, infrastructure.ShowRegistration(m))
}

// commands fills in what is pasted on the machine: it registers the agent, and runs it
// until the terminal is closed.
func commands(m *infrastructure.Registration, token AgentToken, name string) {
	register := "octopuses agent register " + shellQuote(token.Text)
	if name != "" {
		register += " --name " + shellQuote(name)
	}
	const run = " && octopuses agent run"
	m.Fresh, m.Server, m.Listening = true, token.Server, register+" --listen :10933"+run
	if token.Polling {
		m.Polling = register + run
	} else {
		m.NoPolling = "This server takes no polling agents: it was started with --agents off. It must be able to reach the machine instead."
	}
	if host, plain := strings.CutPrefix(token.URL, "http://"); plain && !strings.HasPrefix(host, "127.") && !strings.HasPrefix(host, "localhost") && !strings.HasPrefix(host, "[::1]") {
		m.Warning = "This server is reached without TLS at " + token.URL + ". Agents refuse to send the secret of the command that way; start the server with TLS first."
	}
}

// shellQuote makes one word of a text for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// registrationRows is how many of those who registered are listed.
const registrationRows = 100

func (r *request) registration(id spaces.RegistrationID) (infrastructure.Registration, error) {
	m := infrastructure.Registration{ID: id.String()}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		reg, err := tx.Registration(id)
		if err != nil {
			return struct{}{}, err
		}
		m.Tags, m.UsesLeft, m.Expires, m.Open = reg.Tags, reg.UsesLeft, reg.ExpiresAt, reg.Open(tx.Now)
		_, names, err := environmentNames(tx)
		if err != nil {
			return struct{}{}, err
		}
		for _, e := range reg.Environments {
			m.Environments = append(m.Environments, names[e])
		}
		p, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.ListOptions{Take: registrationRows}, Registration: id})
		if errs.KindOf(err) == errs.Denied {
			return struct{}{}, nil // who may add targets need not see them
		}
		m.Rows, m.Total = targetRows(p.Items, names), p.Total
		return struct{}{}, err
	})
	m.Page = r.pageFor("Add a target", "Infrastructure", "targets")
	m.Page.Crumbs = []ui.Crumb{{Label: "Targets", Href: views.TargetsURL(r.about.Slug)}, {Label: "New"}}
	return m, err
}

func registrationPage(r *request) error {
	id, err := spaces.ParseRegistrationID(r.param("registration"))
	if err != nil {
		return err
	}
	m, err := r.registration(id)
	if err != nil {
		return err
	}
	return r.show(infrastructure.ShowRegistration(m), map[string]templ.Component{"registered": infrastructure.RegistrationPart(m)})
}
