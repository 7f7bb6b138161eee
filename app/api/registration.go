package api

import (
	"strings"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func registrationRoutes() []Row {
	return []Row{
		post("/agents/register", Public, "", registerAgent),
		post("/machines/registration", InSpace, access.MachineCreate, newRegistration),
	}
}

// newRegistration makes a token for the command "octopuses agent register".
func newRegistration(r *request) error {
	b, err := readJSON[struct {
		EnvironmentIds, Roles []string
		Uses                  int
		Hours                 int
	}](r)
	if err != nil {
		return err
	}
	if r.s.AgentToken == nil {
		return errs.New(errs.Unavailable, "This server registers no agents.")
	}
	secret, err := update(r, func(tx *spaces.Tx) (string, error) {
		in := spaces.RegistrationInput{Tags: b.Roles, Uses: b.Uses, Lasts: time.Duration(b.Hours) * time.Hour}
		for _, id := range b.EnvironmentIds {
			e, err := tx.EnvironmentBy(id)
			if err != nil {
				return "", err
			}
			in.Environments = append(in.Environments, e.ID)
		}
		_, secret, err := tx.CreateRegistration(in)
		return secret, err
	})
	if err != nil {
		return err
	}
	return r.created(fields{"Token": r.s.AgentToken(secret, r.about.ID()).String()})
}

// registerAgent is called by an agent with the secret of its token; the secret alone lets
// it in. The token names the space, so that one secret is looked for in one file.
func registerAgent(r *request) error {
	b, err := readJSON[agent.Registration](r)
	if err != nil {
		return err
	}
	secret, spaceID, ok := strings.Cut(b.Secret, "@")
	if !ok {
		return errs.New(errs.Unauthenticated, "The registration token is not valid.")
	}
	row, err := r.s.Instance.SpaceBy(r.ctx, spaceID)
	if err != nil {
		return errs.New(errs.Unauthenticated, "The registration token is unknown, used up or expired.")
	}
	if r.space, err = r.s.Spaces.Acquire(r.ctx, refOf(row)); err != nil {
		return err
	}
	actor := spaces.Actor{ID: "agent", Name: "agent " + b.Name, Via: "registration token", Address: r.IP()}
	in := spaces.TargetInput{Name: b.Name, Thumbprint: b.Thumbprint, URI: b.Address, Style: spaces.StylePolling}
	if b.Mode == "listening" {
		in.Style = spaces.StyleListening
	}
	t, err := spaces.Update(r.ctx, r.space, actor, func(tx *spaces.Tx) (spaces.Target, error) { return tx.RegisterTarget(secret, in) })
	if err != nil {
		return err
	}
	return r.created(agent.Registered{MachineID: t.ID.String(), Space: row.Name, Name: t.Name})
}
