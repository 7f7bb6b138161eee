package demo

import "syscall"

// parentDeath makes a child end when we end.
func parentDeath(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	a.Pdeathsig = syscall.SIGTERM
	return a
}
