package targets

import (
	"context"
	"io"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/execution"
)

// Local is the machine of this process, without an agent: for a worker that is built
// into the server, and for tests. Work outlives the process as it outlives an agent;
// call Resume of the workspace after a restart.
type Local struct{ Work *execution.Workspace }

var _ Transport = Local{}

// Hello implements [Transport].
func (l Local) Hello(context.Context) (agent.Hello, error) { return agent.Describe(l.Work), nil }

// Has implements [Transport].
func (l Local) Has(_ context.Context, digest string) (agent.PackageState, error) {
	return agent.PackageState{Have: l.Work.Packages().Has(digest)}, nil
}

// Put implements [Transport].
func (l Local) Put(ctx context.Context, digest string, size int64, file io.ReadSeeker) (sent int64, err error) {
	if l.Work.Packages().Has(digest) {
		return 0, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if err := l.Work.Packages().PutExpected(ctx, file, digest, size); err != nil {
		return 0, err
	}
	return size, nil
}

// Start implements [Transport].
func (l Local) Start(_ context.Context, spec execution.Spec) (execution.Status, error) {
	return l.Work.Start(spec)
}

// Watch implements [Transport].
func (l Local) Watch(ctx context.Context, id string, offset int64, wait time.Duration) (execution.Update, error) {
	return l.Work.Watch(ctx, id, offset, min(wait, agent.MaxWait))
}

// Cancel implements [Transport].
func (l Local) Cancel(_ context.Context, id string) error { return l.Work.Cancel(id) }

// Forget implements [Transport].
func (l Local) Forget(_ context.Context, id string) error { return l.Work.Forget(id) }
