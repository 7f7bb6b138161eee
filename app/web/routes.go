package web

import (
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces/access"
)

// who may come to a route at all; need and the rules of spaces say more.
type who int

const (
	public   who = iota // anybody
	signedIn            // anybody with a session
	inSpace             // with a session, and some permission in the space of the path
)

// route is a row of the table. need, if any, is a permission that must be given for
// something in the space (inSpace) or in the system (signedIn).
type route struct {
	method, path string
	who          who
	need         access.Permission
	h            func(*request) error
	max          int  // bytes of the body; 0: maxForm
	raw          bool // the handler reads the body itself, with the token in X-Csrf-Token or csrf of the query
	parts        bool // the handler reads files from [request.parts]; the form's first field is the token
}

func get(path string, w who, need access.Permission, h func(*request) error) route {
	return route{method: fiber.MethodGet, path: path, who: w, need: need, h: h}
}

func post(path string, w who, need access.Permission, h func(*request) error) route {
	return route{method: fiber.MethodPost, path: path, who: w, need: need, h: h}
}

// table is every page there is. An area adds its line.
func (s *Server) table() []route {
	var all []route
	all = append(all, accountRoutes()...)
	all = append(all, signInRoutes()...)
	all = append(all, identityRoutes()...)
	all = append(all, securityRoutes()...)
	all = append(all, passkeyRoutes()...)
	all = append(all, spaceRoutes()...)
	all = append(all, projectRoutes()...)
	all = append(all, processRoutes()...)
	all = append(all, variableRoutes()...)
	all = append(all, releaseRoutes()...)
	all = append(all, taskRoutes()...)
	all = append(all, lifecycleRoutes()...)
	all = append(all, promotionRoutes()...)
	all = append(all, zoneRoutes()...)
	all = append(all, packageRoutes()...)
	all = append(all, feedRoutes()...)
	all = append(all, environmentRoutes()...)
	all = append(all, targetRoutes()...)
	all = append(all, teamRoutes()...)
	all = append(all, auditRoutes()...)
	all = append(all, subscriptionRoutes()...)
	all = append(all, keyRoutes()...)
	all = append(all, userRoutes()...)
	all = append(all, roleRoutes()...)
	all = append(all, permissionRoutes()...)
	return all
}
