//go:build !linux

package demo

import "syscall"

func parentDeath(a *syscall.SysProcAttr) *syscall.SysProcAttr { return a }
