// Package access knows who may do what: staff with passwords and sessions, customers with signed inbox
// tokens, and the groups of callers that the API asks for.
package access

// Role is what a person of support may do.
type Role string

// The roles. An admin may do everything, support everything for customers, a viewer only look.
const (
	RoleAdmin   Role = "admin"
	RoleSupport Role = "support"
	RoleViewer  Role = "viewer"
)

// Group is who may call an operation.
type Group string

// The groups. Anyone needs no credentials; Customers are people with an inbox; the others are staff, each
// group within the one before.
const (
	Anyone     Group = "anyone"
	Customers  Group = "customers"
	Readers    Group = "readers"
	Supporters Group = "supporters"
	Admins     Group = "admins"
)

var members = map[Group][]Role{
	Readers:    {RoleViewer, RoleSupport, RoleAdmin},
	Supporters: {RoleSupport, RoleAdmin},
	Admins:     {RoleAdmin},
}

// Schemes names the credentials that open the group's operations: "staff" or "customer"; none for Anyone.
func (g Group) Schemes() []string {
	switch g {
	case Anyone:
		return nil
	case Customers:
		return []string{"customer"}
	}
	return []string{"staff"}
}
