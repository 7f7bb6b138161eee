// Package steps is the process of a project: its documents, the step types we
// ship, and the compilation of one action to one piece of work on one machine.
//
// A [Process] is an ordered list of [Step]s; a step holds one or more [Action]s
// which run one after the other on each target of the step. The JSON of these
// types is the JSON of Octopus's REST API, so that a stored document, an API
// answer and Octopus's Go client agree byte for byte on what was said.
//
// A [Type] knows the inputs of an action, checks them and compiles them to an
// [execution.Spec]. A form is drawn from [Type.Inputs]; there is no page for one
// step type only.
//
// The package is pure: no database, no network, no clock. A sensitive property
// never holds its text here except while a person submits it (NewValue); stored
// documents hold the number of a sealed value.
package steps
