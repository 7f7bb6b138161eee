package account

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	in := func(title string) views.Page { p := views.SamplePage(title, ""); p.Space = nil; return p }
	out := func(title string) views.Page { return views.Page{Title: title, CSRF: "token"} }
	wrong := []ui.FieldError{{Name: "username", Message: "The user name or the password is wrong."}}
	var tiles []SpaceTile
	var log []Entry
	for i := range 60 {
		tiles = append(tiles, SpaceTile{Slug: fmt.Sprint("s", i), Name: fmt.Sprint("Team ", i+1), Description: "Services of the team", Projects: i * 3, Targets: i * 5})
		log = append(log, Entry{At: at, Who: "Ana Lovelace", What: "changed variables", Subject: "Checkout", Href: "/x", From: "192.0.2.7", Denied: i%8 == 3})
	}
	keys := []Key{{ID: "1", Purpose: "Builds of the web shop", Hint: "API-7Q", Created: at, LastUsed: at, Expires: at.AddDate(1, 0, 0)}, {ID: "2", Purpose: "Laptop", Hint: "API-KX", Created: at}}
	var passkeys []Passkey
	for n := range 20 {
		passkeys = append(passkeys, Passkey{ID: strconv.Itoa(n + 1), Name: []string{"Phone", "A blue security key that lies in the drawer, left"}[n%2], Added: at, Used: []time.Time{at, {}}[n%2]})
	}
	settings := Settings{Page: views.SamplePage("Settings", "Settings"), Name: "Payments", Projects: 12, Releases: 840, Targets: 31, CanDelete: true}
	forbidden := settings
	forbidden.CanDelete, forbidden.Why = false, "You need SpaceDelete; an administrator can grant it."
	failed := settings
	failed.Name, failed.Errors = "", []ui.FieldError{{Name: "name", Message: "A space needs a name."}}
	var archives []Archive
	for n := range 300 {
		a := Archive{Day: at.AddDate(0, 0, -90-n).Format(time.DateOnly), SHA256: strings.Repeat("3f9a0c71", 8), Events: int64(17 * n), Size: int64(6011 * n), At: at}
		if n < 30 {
			a.Why = "It can be deleted from 2026-12-24 on."
		}
		archives = append(archives, a)
	}
	form := Subscription{Page: views.SamplePage("Failures", "Settings"), ID: "Subscriptions-1", Name: "Failures", URI: "https://hooks.example.com/deployments", HeaderKey: "Authorization", HasValue: true, Enabled: true, Timeout: 10, Sent: at, CanDelete: true,
		Groups: []ui.Option{{Value: "DeploymentCritical", Label: "Deployments that need somebody", Selected: true}, {Value: "Machine", Label: "Deployment targets"}}, Categories: []ui.Option{{Value: "Created", Label: "Created"}}, Entities: []ui.Option{{Value: "project", Label: "project"}}, Projects: []ui.Option{{Value: "Projects-1", Label: "Checkout"}}, Environments: []ui.Option{{Value: "Environments-1", Label: "Production"}}}
	formFailing, formBad := form, form
	formFailing.Failing, formFailing.FailingSince = "the web hook answers 502 Bad Gateway", at
	formBad.ID, formBad.URI, formBad.Errors = "", "nowhere", []ui.FieldError{{Name: "uri", Message: "A web hook is at a URL such as https://hooks.example.com/deployments, without a name and password."}}
	var hooks []Subscription
	for n := range 100 {
		h := form
		h.Name, h.URI = "Subscription "+strconv.Itoa(n)+strings.Repeat(" of a long name", n%4*3), h.URI+strings.Repeat("/segment", n%5*4)
		h.Enabled, h.Failing, h.FailingSince = n%7 != 3, []string{"", "", "the web hook answers 502 Bad Gateway"}[n%3], at
		hooks = append(hooks, h)
	}
	return []views.Fixture{
		{Name: "signin usual", Component: ShowSignIn(SignIn{Page: out("Sign in")})},
		{Name: "signin failed", Component: ShowSignIn(SignIn{Page: out("Sign in"), Username: "ana", Errors: wrong})},
		{Name: "signin providers", Component: ShowSignIn(SignIn{Page: out("Sign in"), Providers: []Provider{{ID: "IdentityProviders-1", Name: "Example Login"}, {ID: "IdentityProviders-2", Name: "Partners of a company with a long name"}}})},
		{Name: "signin passkey", Component: ShowSignIn(SignIn{Page: out("Sign in"), Passkey: true, Providers: []Provider{{ID: "IdentityProviders-1", Name: "Example Login"}}})},
		{Name: "providers empty", Component: ShowProviders(Providers{Page: in("Sign-in")})},
		{Name: "providers usual", Component: ShowProviders(Providers{Page: in("Sign-in"), Providers: []Provider{{ID: "IdentityProviders-1", Name: "Example Login", Issuer: "https://login.example.com/realms/main", Enabled: true}, {ID: "IdentityProviders-2", Name: "Partners", Issuer: "https://partners.example.com"}}})},
		{Name: "provider new failed", Component: ShowProvider(Provider{Page: in("Add an identity provider"), Name: "Example", Issuer: "http://login.example.com", Enabled: true, Errors: []ui.FieldError{{Name: "issuer", Message: "The issuer is an https URL without a query."}}})},
		{Name: "provider usual", Component: ShowProvider(Provider{Page: in("Example Login"), ID: "IdentityProviders-1", Name: "Example Login", Issuer: "https://login.example.com/realms/main", ClientID: "octopuses", Scopes: "openid profile email", GroupsClaim: "groups", Return: "https://octopuses.example.com/signin/with/IdentityProviders-1/return", CreateUsers: true, Enabled: true})},
		{Name: "setup usual", Component: ShowSetup(Setup{Page: out("Set up this server"), Space: "Default"})},
		{Name: "setup failed", Component: ShowSetup(Setup{Page: out("Set up this server"), Errors: []ui.FieldError{{Name: "token", Message: "This is not the token that the server printed."}}})},
		{Name: "spaces empty", Component: ShowSpaces(Spaces{Page: in("Spaces")})},
		{Name: "spaces huge", Component: ShowSpaces(Spaces{Page: in("Spaces"), Tiles: tiles, CanCreate: true})},
		{Name: "keys empty", Component: ShowKeys(Keys{Page: in("API keys")})},
		{Name: "keys usual", Component: ShowKeys(Keys{Page: in("API keys"), Keys: keys, New: "API-7QHX2M4Z9K3V8T1B6N5C"})},
		{Name: "account usual", Component: ShowAccount(Account{Page: in("Account"), Name: "Ana Lovelace", Username: "ana", Email: "ana@example.com", HasPassword: true})},
		{Name: "account second factor", Component: ShowAccount(Account{Page: in("Account"), Name: "Ana Lovelace", Username: "ana", HasPassword: true, Authenticator: true, RecoveryCodes: 9, Errors: []ui.FieldError{{Name: "app-password", Message: "This is not your password."}}})},
		{Name: "account passkeys", Component: ShowAccount(Account{Page: in("Account"), Name: "Ana Lovelace", Username: "ana", HasPassword: true, Authenticator: true, RecoveryCodes: 1, Passkeys: Passkeys{Keys: passkeys, Name: "Blue"}, Errors: []ui.FieldError{{Name: "passkey-password", Message: "This is not your password."}}})},
		{Name: "account passkeys elsewhere", Component: ShowAccount(Account{Page: in("Account"), Username: "ana", HasPassword: true, RecoveryCodes: 10, Passkeys: Passkeys{Keys: passkeys[:1], Why: "Passkeys of this server belong to https://octopuses.example.com, and this page was opened at 192.0.2.7:8443.", At: "https://octopuses.example.com/account"}})},
		{Name: "account passkeys impossible", Component: ShowAccount(Account{Page: in("Account"), Username: "ana", HasPassword: true, Passkeys: Passkeys{Why: "A passkey belongs to the name of a server, and this one is reached at 192.0.2.7, which is an address and no name. Whoever runs this server gives it a name with --public-url, as https://octopuses.example.com."}})},
		{Name: "passkey usual", Component: ShowPasskey(PasskeyPage{Page: in("Phone"), Passkey: passkeys[0], Typed: "Phone", Last: true})},
		{Name: "passkey failed", Component: ShowPasskey(PasskeyPage{Page: in("Phone"), Passkey: passkeys[1], Typed: "", Errors: []ui.FieldError{{Name: "name", Message: "A passkey needs a name, so that you know it again."}}})},
		{Name: "authenticator usual", Component: ShowAuthenticator(Authenticator{Page: in("Add an authenticator app"), Secret: "JBSWY3DPEHPK3PXP", Size: 3, Path: "M0 0h1v1h-1zM2 2h1v1h-1z"})},
		{Name: "recovery codes", Component: ShowRecoveryCodes(RecoveryCodes{Page: in("Recovery codes"), Codes: []string{"ABCD-EFGH-JKLM-NPQR", "STUV-WXYZ-2345-6789"}})},
		{Name: "code passkey", Component: ShowCode(Code{Page: out("Second factor"), Passkeys: 2, App: true, Codes: 8})},
		{Name: "code passkey alone", Component: ShowCode(Code{Page: out("Second factor"), Passkeys: 1})},
		{Name: "code passkey elsewhere", Component: ShowCode(Code{Page: out("Second factor"), Passkeys: 1, Codes: 8, Why: "Passkeys of this server belong to https://octopuses.example.com, and this page was opened at 192.0.2.7:8443.", At: "https://octopuses.example.com/signin"})},
		{Name: "code failed", Component: ShowCode(Code{Page: out("Second factor"), App: true, Errors: []ui.FieldError{{Message: "The code is wrong or was used before."}}})},
		{Name: "sessions usual", Component: ShowSessions(Sessions{Page: in("Sessions"), Sessions: []Session{{ID: "1", Agent: "Firefox on Linux", Address: "192.0.2.7", Began: at, Seen: at, This: true}, {ID: "2", Agent: "Safari on iPhone", Address: "2001:db8::7", Began: at, Seen: at}}})},
		{Name: "audit empty", Component: ShowAudit(Audit{Page: views.SamplePage("Audit", "Settings"), Action: "/audit", Exports: []string{"/csv", "/jsonl"}, Query: "nothing like it", From: "2026-11-01"})},
		{Name: "audit changes", Component: ShowAudit(Audit{Page: views.SamplePage("Audit", "Settings"), Action: "/audit", Categories: []ui.Option{{Value: "Modified", Label: "Modified", Selected: true}, {Value: "Denied", Label: "Denied"}}, Entries: append(log[:3:3],
			Entry{At: at, Who: "Ana Lovelace", What: "Variables of Checkout were changed", Subject: "variables variableset-Projects-1", From: "192.0.2.7", Changes: []Change{{Field: "Greeting", Before: "hello", After: strings.Repeat("a-long-value-", 60)}, {Field: "Password", Secret: true}, {Field: "Empty", After: "x"}}})})},
		{Name: "audit usual", Component: ShowAudit(Audit{Page: views.SamplePage("Audit", "Settings"), Action: "/audit", Entries: log, Pager: ui.PagerProps{Text: "1–60 of 812", Next: "?page=2"}})},
		{Name: "subscriptions empty", Component: ShowSubscriptions(Subscriptions{Page: views.SamplePage("Subscriptions", "Settings")})},
		{Name: "subscriptions forbidden", Component: ShowSubscriptions(Subscriptions{Page: views.SamplePage("Subscriptions", "Settings"), Why: "You do not have the permission SubscriptionCreate for this. Ask a manager of this space to grant it."})},
		{Name: "subscriptions huge", Component: ShowSubscriptions(Subscriptions{Page: views.SamplePage("Subscriptions", "Settings"), Subscriptions: hooks})},
		{Name: "subscription usual", Component: ShowSubscription(form)}, {Name: "subscription failing", Component: ShowSubscription(formFailing)}, {Name: "subscription failed", Component: ShowSubscription(formBad)},
		{Name: "archives empty", Component: ShowArchives(Archives{Page: in("Archives of the server's audit"), Action: "/archives", Retention: 90, CanRetain: true})},
		{Name: "archives usual", Component: ShowArchives(Archives{Page: views.SamplePage("Archives of the audit", "Settings"), Action: "/archives", Retention: 90, Archives: archives})},
		{Name: "archives failed", Component: ShowArchives(Archives{Page: in("Archives of the server's audit"), Action: "/archives", Retention: 90, CanRetain: true, Archives: archives[:2], Errors: []ui.FieldError{{Name: "eventRetentionDays", Message: "Events are kept for 1 to 3,650 days before they go into files."}}})},
		{Name: "stream empty", Component: ShowStream(Stream{Page: in("Streaming of the audit"), Kind: "https", Enabled: true})},
		{Name: "stream usual", Component: ShowStream(Stream{Page: in("Streaming of the audit"), Set: true, Kind: "https", Address: "https://logs.example.com/audit", Token: true, Enabled: true, Since: at, Sent: 48123, LastSent: at})},
		{Name: "stream failing", Component: ShowStream(Stream{Page: in("Streaming of the audit"), Set: true, Kind: "syslog", Address: "logs.example.com:6514", Enabled: true, Since: at, Sent: 12, LastSent: at, Failing: "dial tcp 203.0.113.7:6514: connect: connection refused", FailingSince: at, Next: at, Waiting: 3})},
		{Name: "stream failed", Component: ShowStream(Stream{Page: in("Streaming of the audit"), Kind: "https", Address: "http://x", Enabled: true, Errors: []ui.FieldError{{Name: "address", Message: "The address of a collector is a URL such as https://logs.example.com/audit, without a name and password."}}})},
		{Name: "settings usual", Component: ShowSettings(settings)}, {Name: "settings forbidden", Component: ShowSettings(forbidden)}, {Name: "settings failed", Component: ShowSettings(failed)},
	}
}
