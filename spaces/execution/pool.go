package execution

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// shimRest is how long a shim without work stays, since starting a process of this
	// program takes longer than a short script does.
	shimRest = 10 * time.Second
	// shimsAtRest is how many such shims there are at most; the others end with their work.
	shimsAtRest = 4
)

// shims are the processes that do work, each one piece at a time. A shim does not need
// us to finish what it is at; without us it ends then.
type shims struct {
	root string

	mu   sync.Mutex
	free []*shimProcess // the last one rested last
}

// shimProcess is a shim of ours. A message on its socket is the folder of a piece of
// work, with the lock of the work and its shim.err as ancillary data. It answers with one
// byte when the work has ended; the end of its stream says that it is gone.
type shimProcess struct {
	cmd    *exec.Cmd
	socket *net.UnixConn
	began  []string // the command
	rest   *time.Timer
}

// do gives work to a shim. The lock and the file become the shim's too, so that the
// lock is held without a gap; the caller closes its own. gone is called once, from a
// goroutine, when the shim is not at it any more: with nil after its end, or with why
// there is no shim now, and whether that one was started for this work.
func (p *shims) do(command []string, dir string, lock, stderr *os.File, gone func(fresh bool, err error)) error {
	s := p.take(command)
	if s != nil && s.give(dir, lock, stderr) != nil {
		s.end() // it was killed while it rested
		s = nil
	}
	var given error
	fresh := s == nil
	if fresh {
		var err error
		if s, err = p.start(command, stderr); err != nil {
			return err
		}
		given = s.give(dir, lock, stderr)
	}
	go func() {
		if given == nil {
			_, given = io.ReadFull(s.socket, make([]byte, 1))
		}
		if given != nil {
			gone(fresh, cmp.Or(s.end(), given))
			return
		}
		p.put(s) // first: who waits for the end often has more
		gone(fresh, nil)
	}()
	return nil
}

func (p *shims) start(command []string, stderr *os.File) (*shimProcess, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("socket of a shim: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "shim"), os.NewFile(uintptr(pair[1]), "shim")
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("socket of a shim: %w", err)
	}
	s := &shimProcess{socket: conn.(*net.UnixConn), began: command}
	s.cmd = exec.Command(command[0], command[1:]...)
	s.cmd.ExtraFiles, s.cmd.Stderr, s.cmd.Dir = []*os.File{theirs}, stderr, p.root
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// take is a shim that rests, or nil. One that was started by another command is of no use.
func (p *shims) take(command []string) *shimProcess {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) > 0 {
		s := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		if s.rest.Stop() && slices.Equal(s.began, command) {
			return s
		}
		go s.end()
	}
	return nil
}

func (p *shims) put(s *shimProcess) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) >= shimsAtRest {
		go s.end()
		return
	}
	p.free = append(p.free, s)
	s.rest = time.AfterFunc(shimRest, func() {
		p.mu.Lock()
		p.free = slices.DeleteFunc(p.free, func(f *shimProcess) bool { return f == s })
		p.mu.Unlock()
		s.end()
	})
}

func (s *shimProcess) give(dir string, lock, stderr *os.File) error {
	_, _, err := s.socket.WriteMsgUnix([]byte(dir), syscall.UnixRights(int(lock.Fd()), int(stderr.Fd())), nil)
	return err
}

// end ends a shim that has nothing to do, and waits for it.
func (s *shimProcess) end() error {
	s.socket.Close()
	return s.cmd.Wait()
}

// longestPath is how long the folder of a piece of work may be, in bytes, as PATH_MAX
// of Linux is.
const longestPath = 4096

// receive waits for the next piece of work. It returns "" when there will be none.
func receive(socket *net.UnixConn) (dir string, lock *os.File, err error) {
	path, rights := make([]byte, longestPath), make([]byte, syscall.CmsgSpace(2*4))
	n, nr, _, _, err := socket.ReadMsgUnix(path, rights)
	if n == 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:nr])
	if err != nil || len(messages) != 1 {
		return "", nil, fmt.Errorf("work came with %d control messages: %w", len(messages), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		return "", nil, fmt.Errorf("work came with %d files: %w", len(fds), err)
	}
	// What the Go runtime says of a fault goes where the work's other errors go.
	if err := unix.Dup2(fds[1], 2); err != nil {
		return "", nil, err
	}
	return string(path[:n]), os.NewFile(uintptr(fds[0]), "lock"), syscall.Close(fds[1])
}
