package zones

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	page := func(title string) views.Page { return views.SamplePage(title, "Promotions") }
	zones := func(title string) views.Page { return views.SamplePage(title, "Zones") }
	words := strings.Fields("legend expect guitar grain lecture inmate mercy retire flight brand screen sure")
	core := strings.Repeat("9f3c", 16)
	long := strings.Repeat("Vertriebsabrechnungsschnittstelle", 3)
	in := Inbound{ID: "Inbound-3", Project: "Web shop", Version: "1.5.0", From: "Dev", Via: "the link", Word: "Waits for a decision", Tone: ui.Waiting, At: at}
	var came []Inbound
	var went []Outbound
	for i := range 100 {
		word, tone := "Accepted", ui.Good
		if i%7 == 3 {
			word, tone = "Rejected", ui.Bad
		}
		came = append(came, Inbound{ID: fmt.Sprint("Inbound-", i), Project: long, Version: fmt.Sprintf("2026.11.%d-rc.%d+build.20261120", i, i), From: "Development Europe", Via: "file", Word: word, Tone: tone, At: at})
		went = append(went, Outbound{ID: fmt.Sprint("Promotions-", i), Project: long, Version: fmt.Sprintf("2026.11.%d-rc.%d", i, i), To: "Production Europe", Word: "Deployed", Tone: ui.Good, By: "ana", Sent: 20 << 20, Total: 21 << 20, At: at})
	}
	out := Outbound{ID: "Promotions-1", Project: "Web shop", Version: "1.5.0", To: "Prod", Word: "Queued", Tone: ui.Running, By: "ana", Sent: 8 << 20, Total: 20 << 20, At: at}
	promotion := Promotion{Page: page("Web shop 1.5.0"), Row: out, Release: "/r", Link: "/l", Core: core, Digest: core, Message: 7, State: "queued", Attempts: 3, Next: at, LastError: "The other server cannot be reached: connection refused.", CanControl: true, CanExport: true}
	said := promotion
	said.Row.Word, said.Row.Tone, said.Message, said.LastError = "Deployed", ui.Good, 0, ""
	for i, kind := range []string{"received", "accepted", "deployment-started", "deployment-succeeded"} {
		said.Receipts = append(said.Receipts, Receipt{Kind: kind, Environment: []string{"", "", "Production", "Production"}[i], Attempt: i, Seq: int64(i + 1), Issued: at, Received: at, Via: "the link"})
	}
	review := Review{Page: page("Web shop 1.5.0"), Row: in, Words: words, Link: "/l", Core: core, By: "ana", Made: at, Notes: "Faster checkout.\nNeeds the new key of the payment provider.", Previous: "1.4.2", Against: "1.4.2", Bases: []ui.Tab{{Label: "1.4.2, accepted before", Href: "/i", Current: true}, {Label: "1.4.0, in Production and Staging", Href: "/i?with=1.4.0"}}, Open: true, CanDecide: true, CanGive: true, Feeds: []ui.Option{{Value: "Feeds-1", Label: "Artifactory"}, {Value: "Feeds-2", Label: "nuget.org"}},
		Evidence: []Evidence{{Space: "Dev", Environment: "Development", Word: "Succeeded", Tone: ui.Good, At: at}, {Space: "Dev", Environment: "Test", Word: "Failed", Tone: ui.Bad, At: at}}, Warnings: []string{"In Test of Dev it has not succeeded (Failed)."},
		Packages: []Package{{Action: "Install", ID: "Shop", Version: "1.5.0", Digest: core, Size: 20 << 20, Here: true}, {Action: "Install", ID: "Shop.Assets", Version: "1.5.0", Digest: core, Size: 3 << 20}}, Requires: []string{"Octopus.Script", "Octopus.TentaclePackage"},
		Steps:   []projects.StepChange{{Name: "Install", Word: "changed", Tone: ui.Waiting, Fields: []projects.FieldChange{{Name: "Script", Lines: []ui.DiffLine{{Op: ' ', Text: "set -e"}, {Op: '-', Text: "cp a b"}, {Op: '+', Text: "install a b"}}}}}},
		Changed: []projects.Pair{{Name: "Shop in Install", Old: "1.4.2", New: "1.5.0"}}, Variables: []projects.Pair{{Name: "Colour", Old: "green", New: "red", Where: []string{"web"}}, {Name: "Timeout", Old: "30", New: "30", NewWhere: []string{"web", "Install"}}},
		Contents: []packages.Compare{{ID: "Shop", Version: "1.5.0", With: "1.4.2", Size: 20 << 20, WithSize: 19 << 20, Added: 1, Changed: 1, Files: []packages.FileChange{
			{Name: "lib/new.js", Word: "added", Tone: ui.Good, Size: 4 << 10}, {Name: "app/settings.json", Word: "changed", Tone: ui.Waiting, Size: 700, Was: 650, Lines: []ui.DiffLine{{Op: '-', Text: "\"colour\": \"green\""}, {Op: '+', Text: "\"colour\": \"red\""}}}}}},
		Lifecycle: "Lifecycles-1", Lifecycles: []ui.Option{{Value: "Lifecycles-1", Label: "Default"}, {Value: "Lifecycles-2", Label: "Careful"}},
		Asks: []Ask{{Environment: "Staging", Fields: []ui.FieldProps{{Name: "value.Environments-1.Url", Label: "Public address"}, {Name: "value.Environments-1.Key", Label: "Key", Type: "password", Placeholder: "set; type to change it"}}}}}
	first, denied := review, review
	first.Previous, first.Warnings = "", nil
	denied.CanDecide, denied.Why = false, "You do not have the permission BundleApprove for this. Ask a manager of this space to grant it."
	failed := review
	failed.Errors = []ui.FieldError{{Name: "reason", Message: "Say why, in at most 2,000 characters: whoever sent it will read it."}}
	eyes, stopped, allowed, withdrawn := review, review, review, said
	eyes.Row.Word, eyes.AcceptWhy, eyes.Approvals = "Waits for approval", "1 of 2 approvals of other people are here.", Approvals{Needed: 2, CanApprove: true, All: []Approval{{By: "ana", Comment: "Read the script and the new variables.", At: at}}}
	stopped.Open, stopped.Accepted, stopped.Row.Word, stopped.Row.Tone, stopped.Recall = false, "/r", "Accepted", ui.Good, &Recall{Reason: "It loses orders when two people pay at once.", At: at}
	allowed.Open, allowed.Accepted, allowed.Recall = false, "/r", &Recall{Reason: "It loses orders.", At: at, AllowedBy: "bob", AllowedWhy: "We roll back to it for an hour.", AllowedAt: at}
	said.Recallable, said.CanRecall = true, true
	withdrawn.Row.Word, withdrawn.Row.Reason, withdrawn.Recall = "Recalled", "It is deployed to Production.", &Recall{Reason: "It loses orders.", By: "ana", At: at}
	link := Link{ID: "Links-1", Name: "Prod", Peer: "Storefront Production", Word: "Active", Tone: ui.Good, Flow: "releases go there, receipts come back", Mode: "the other server connects", Address: "prod.example.com:8443", Server: "a", Sends: true, Queue: 2, Contact: at}
	second, third, hand := link, link, link
	second.ID, second.Name, second.Sends, second.Takes, second.Queue = "Links-2", "Insights", false, true, 0
	third.ID, third.Name, third.Server, third.Address, third.Word, third.Tone = "Links-3", long, "b", "eu.example.com:8443", "Out of reach", ui.Waiting
	hand.ID, hand.Name, hand.Server, hand.Address, hand.Mode, hand.Takes, hand.Queue = "Links-4", "Vault", "", "", "as files, by hand", true, 0
	wizard := Wizard{Page: zones("Link a zone"), Words: words, ShortCode: "P6FAP-THZSB-Y7YOV-RIWV6", Network: true, Address: "dev.example.com:8443", Role: "target"}
	made, wrong := wizard, wizard
	made.Invitation = "octopuses-link:" + strings.Repeat("eyJhZGRyZXNzIjoiZGV2", 10)
	wrong.Network, wrong.Card, wrong.Theirs, wrong.TrustErrors = false, "{}", words, []ui.FieldError{{Name: "words", Message: "These are not the last three words of this card."}}
	linkPage := LinkPage{Page: zones("Prod"), Link: link, State: "active", Words: words, ConfirmedHow: "the last three words were typed", Space: "01M84PKK32CNSEM20JHAQZTQZP", Receipts: "none go back", CanChange: true, CanExport: true}
	awaiting, broken := linkPage, linkPage
	awaiting.State, awaiting.Link.Word, awaiting.Link.Tone = "awaiting confirmation", "Compare the words", ui.Waiting
	broken.State, broken.Link.Word, broken.Link.Tone, broken.Link.Reason = "broken", "Suspended", ui.Bad, "The other side made two messages with the number 12."
	return []views.Fixture{
		{Name: "zones/inbox alone", Component: ShowInbox(Inbox{Page: page("Promotions"), Why: "You do not have the permission BundleImport."})},
		{Name: "zones/inbox empty", Component: ShowInbox(Inbox{Page: page("Promotions"), Linked: true, CanImport: true})},
		{Name: "zones/inbox usual", Component: ShowInbox(Inbox{Page: page("Promotions"), Linked: true, CanImport: true, Waiting: 1, Rows: []Inbound{in, {ID: "Inbound-2", Project: "Web shop", Version: "1.4.2", From: "Dev", Via: "file", Word: "Accepted", Tone: ui.Good, At: at}}})},
		{Name: "zones/inbox full", Component: ShowInbox(Inbox{Page: page("Promotions"), Linked: true, CanImport: true, Rows: came, Errors: []ui.FieldError{{Message: "The bundle file is cut off. Copy or download it again."}}})},
		{Name: "zones/outbox empty", Component: ShowOutbox(Outbox{Page: page("Promotions"), CanImport: true})},
		{Name: "zones/outbox usual", Component: ShowOutbox(Outbox{Page: page("Promotions"), CanImport: true, Rows: []Outbound{out}})},
		{Name: "zones/outbox full", Component: ShowOutbox(Outbox{Page: page("Promotions"), CanImport: true, Rows: went})},
		{Name: "zones/promotion out of reach", Component: ShowPromotion(promotion)}, {Name: "zones/promotion deployed", Component: ShowPromotion(said)}, {Name: "zones/promotion recalled", Component: ShowPromotion(withdrawn)},
		{Name: "zones/review approvals", Component: ShowReview(eyes)}, {Name: "zones/review recalled", Component: ShowReview(stopped)}, {Name: "zones/review allowed", Component: ShowReview(allowed)},
		{Name: "zones/review usual", Component: ShowReview(review)}, {Name: "zones/review first", Component: ShowReview(first)}, {Name: "zones/review denied", Component: ShowReview(denied)}, {Name: "zones/review failed", Component: ShowReview(failed)},
		{Name: "zones/map empty", Component: ShowZones(Zones{Page: zones("Zones"), CanLink: true})},
		{Name: "zones/map usual", Component: ShowZones(Zones{Page: zones("Zones"), CanLink: true, Links: []Link{link, second, third, hand}})},
		{Name: "zones/map wall", Component: ShowZones(Zones{Page: zones("Zones"), Wall: true, Links: []Link{link, hand}})},
		{Name: "zones/wizard usual", Component: ShowWizard(wizard)}, {Name: "zones/wizard invited", Component: ShowWizard(made)}, {Name: "zones/wizard failed", Component: ShowWizard(wrong)},
		{Name: "zones/link active", Component: ShowLink(linkPage)}, {Name: "zones/link awaiting", Component: ShowLink(awaiting)}, {Name: "zones/link broken", Component: ShowLink(broken)},
	}
}
