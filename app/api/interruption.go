package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func interruptionRoutes() []Row {
	return []Row{
		get("/interruptions", InSpace, access.InterruptionView, listInterruptions),
		get("/interruptions/:id", InSpace, access.InterruptionView, showInterruption),
		post("/interruptions/:id/submit", InSpace, access.InterruptionSubmit, submitInterruption),
		get("/interruptions/:id/responsible", InSpace, access.InterruptionView, responsible),
		// Whoever may answer may answer at once; taking responsibility changes nothing.
		put("/interruptions/:id/responsible", InSpace, access.InterruptionSubmit, responsible),
	}
}

type interruptionResource struct {
	ID                          string    `json:"Id"`
	SpaceID                     string    `json:"SpaceId"`
	Title                       string    `json:"Title"`
	Type                        string    `json:"Type"`
	TaskID                      string    `json:"TaskId"`
	CorrelationID               string    `json:"CorrelationId"`
	Created                     time.Time `json:"Created"`
	IsPending                   bool      `json:"IsPending"`
	CanTakeResponsibility       bool      `json:"CanTakeResponsibility"`
	HasResponsibility           bool      `json:"HasResponsibility"`
	IsLinkedToOtherInterruption bool      `json:"IsLinkedToOtherInterruption"`
	ResponsibleTeamIDs          []string  `json:"ResponsibleTeamIds"`
	ResponsibleUserID           string    `json:"ResponsibleUserId"`
	RelatedDocumentIDs          []string  `json:"RelatedDocumentIds"`
	Form                        form      `json:"Form"`
	Links                       links     `json:"Links"`
}

type formParagraph struct {
	Type string `json:"Type"`
	Text string `json:"Text"`
}

type formButtons struct {
	Type    string             `json:"Type"`
	Options []formButtonOption `json:"Options"`
}

type formButtonOption struct {
	Text  string `json:"Text"`
	Value string `json:"Value"`
}

// answerField is the name under which clients send an answer to each sort of question.
func answerField(kind string) string {
	if kind == "ManualIntervention" {
		return "Result"
	}
	return "Guidance"
}

func (r *request) interruptionResource(i spaces.Interruption) interruptionResource {
	self := r.in("interruptions", i.ID.String())
	may := r.actor.Permissions.Any(access.InterruptionSubmit)
	out := interruptionResource{ID: i.ID.String(), SpaceID: r.about.ID(), Title: i.Title, Type: i.Kind, TaskID: i.TaskID.String(), CorrelationID: i.Reference, Created: i.CreatedAt, IsPending: i.AnsweredAt == nil,
		CanTakeResponsibility: may, HasResponsibility: may && i.AnsweredAt == nil, ResponsibleTeamIDs: []string{}, RelatedDocumentIDs: []string{i.TaskID.String()},
		Links: links{"Self": self, "Submit": self + "/submit", "Responsible": self + "/responsible", "Task": r.in("tasks", i.TaskID.String())}}
	if out.HasResponsibility {
		out.ResponsibleUserID = r.user.APIID()
	}
	field := answerField(i.Kind)
	options := make([]formButtonOption, len(i.Choices))
	for k, c := range i.Choices {
		options[k] = formButtonOption{c.Label, c.Value}
	}
	out.Form = form{Values: map[string]string{}, Elements: []formElement{
		{Name: "Instructions", Control: formParagraph{"Paragraph", i.Message}},
		{Name: "Notes", Control: formParagraph{"TextArea", ""}},
		{Name: field, Control: formButtons{"SubmitButtonGroup", options}, IsValueRequired: true},
	}}
	if i.AnsweredAt != nil {
		out.Form.Values[field], out.Form.Values["Notes"] = i.Answer, i.Notes
	}
	return out
}

func listInterruptions(r *request) error {
	f := spaces.InterruptionFilter{IDs: r.list("ids"), Pending: r.flag("pendingOnly"), Skip: r.number("skip"), Take: r.number("take")}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Interruption], error) {
		if text := r.query("regarding"); text != "" {
			var err error
			if f.Task, err = spaces.ParseTaskID(text); err != nil {
				return spaces.Page[spaces.Interruption]{}, err
			}
		}
		return tx.InterruptionList(f)
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Interruption", p, r.interruptionResource))
}

func (r *request) interruption(tx *spaces.ReadTx) (spaces.Interruption, error) {
	id, err := spaces.ParseInterruptionID(r.param("id"))
	if err != nil {
		return spaces.Interruption{}, err
	}
	return tx.Interruption(id)
}

func showInterruption(r *request) error {
	i, err := view(r, r.interruption)
	if err != nil {
		return err
	}
	return r.ok(r.interruptionResource(i))
}

func responsible(r *request) error {
	if _, err := view(r, r.interruption); err != nil {
		return err
	}
	return r.ok(r.userResource(r.user))
}

func submitInterruption(r *request) error {
	in, err := readJSON[struct{ Guidance, Result, Notes string }](r)
	if err != nil {
		return err
	}
	answer := in.Guidance
	if answer == "" {
		answer = in.Result
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (interruptionResource, error) {
		i, err := r.interruption(tx.ReadTx)
		if err != nil {
			return interruptionResource{}, err
		}
		i, err = tx.AnswerInterruption(i.ID, answer, in.Notes)
		return r.interruptionResource(i), err
	})
}
