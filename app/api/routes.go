package api

import (
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces/access"
)

// Who may come to a row at all; Need and the rules of spaces say more.
type Who int

// The three sorts of rows.
const (
	Public   Who = iota // anybody
	SignedIn            // anybody with an API key or a session
	InSpace             // and with some permission in the space of the path
)

// Row is a row of the table. Path is what stands behind /api, or behind /api/{space}
// for a row of a space. Need, if any, is a permission that must be given for something
// in the space (InSpace) or in the system (SignedIn).
type Row struct {
	Method string
	Path   string
	Who    Who
	Need   access.Permission

	handle   func(*request) error
	document bool // the body may be a large document
	slow     bool // waits for a transfer from elsewhere
	transfer bool // moves a package, so it may take long
}

func get(path string, w Who, need access.Permission, h func(*request) error) Row {
	return Row{Method: fiber.MethodGet, Path: path, Who: w, Need: need, handle: h}
}

func post(path string, w Who, need access.Permission, h func(*request) error) Row {
	return Row{Method: fiber.MethodPost, Path: path, Who: w, Need: need, handle: h}
}

func put(path string, w Who, need access.Permission, h func(*request) error) Row {
	return Row{Method: fiber.MethodPut, Path: path, Who: w, Need: need, handle: h}
}

func del(path string, w Who, need access.Permission, h func(*request) error) Row {
	return Row{Method: fiber.MethodDelete, Path: path, Who: w, Need: need, handle: h}
}

// Limit is how many bytes of JSON the body may have.
func (row Row) Limit() int {
	if row.document {
		return maxDocument
	}
	return maxJSON
}

// Transfer says that the row moves a file, whose limit is of its own.
func (row Row) Transfer() bool { return row.transfer }

// large lets a row take a large document.
func large(row Row) Row { row.document = true; return row }

// fetching lets a row with JSON take its time.
func fetching(row Row) Row { row.slow = true; return row }

// moving lets a row take its time, which reads its body itself.
func moving(row Row) Row { row.transfer = true; return row }

// Table is every row there is; where two match, the first one answers. An area adds
// its line.
func (s *Server) Table() []Row {
	var table []Row
	for _, area := range [][]Row{
		rootRoutes(), spaceRoutes(), userRoutes(), teamRoutes(), roleRoutes(), scopedRoleRoutes(),
		environmentRoutes(), lifecycleRoutes(), projectGroupRoutes(), projectRoutes(), channelRoutes(),
		processRoutes(), variableRoutes(), packageRoutes(), feedRoutes(), releaseRoutes(), deploymentRoutes(),
		taskRoutes(), interruptionRoutes(), machineRoutes(), workerRoutes(), dashboardRoutes(), archiveRoutes(), eventRoutes(), subscriptionRoutes(), auditStreamRoutes(),
		registrationRoutes(), linkRoutes(), promotionRoutes(), decisionRoutes(), keyRoutes(),
		absentRoutes(),
	} {
		table = append(table, area...)
	}
	return table
}
