// Package deploy decides: where a release may go next, what a deployment will
// do, and what the next move of a running deployment is.
//
//   - [Progression] tells for each phase of a [Lifecycle] how far a release is and
//     in a sentence why it may not go further.
//   - [NewPlan] turns a process, variables and targets into a [Plan]: the ordered
//     actions with their targets, stored before anything runs.
//   - [Next] is the state machine of one deployment. It is a function: a state and
//     an event in, a state and commands out.
//
// Everything is pure: no database, no network, no clock. Who calls stores the
// new state before it performs the commands; DESIGN.md says why that is enough
// to survive a crash at any moment.
package deploy
