package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
)

// MaxWait is how long a request for news waits at most.
const MaxWait = 30 * time.Second

// maxSpec is the largest spec that is read, in bytes.
const maxSpec = 16 << 20

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathHello, func(w http.ResponseWriter, r *http.Request) { answer(w, a.hello(), nil) })
	mux.HandleFunc("GET "+pathPackages+"{digest}", a.getPackage)
	mux.HandleFunc("PATCH "+pathPackages+"{digest}", a.patchPackage)
	mux.HandleFunc("PUT "+pathWork+"{id}", a.putWork)
	mux.HandleFunc("GET "+pathWork+"{id}", a.getWork)
	mux.HandleFunc("POST "+pathWork+"{id}/cancel", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.work.Cancel(r.PathValue("id")))
	})
	mux.HandleFunc("DELETE "+pathWork+"{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.work.Forget(r.PathValue("id")))
	})
	return mux
}

func (a *Agent) hello() Hello { return Describe(a.work) }

// Describe says what a machine is and has.
func Describe(w *execution.Workspace) Hello {
	h := Hello{Version: w.Version, OperatingSystem: runtime.GOOS + "/" + runtime.GOARCH, Formats: []int{execution.Format}}
	h.Hostname, _ = os.Hostname()
	_, err := exec.LookPath("bash")
	h.Bash = err == nil
	h.DiskFree, _ = execution.DiskFree(w.Root()) // 0 is what a broken disk has
	return h
}

// statuses are those of refusals; whatever has no kind is 500.
var statuses = map[errs.Kind]int{
	errs.Invalid: http.StatusBadRequest, errs.NotFound: http.StatusNotFound, errs.Stale: http.StatusConflict, errs.Blocked: http.StatusConflict,
	errs.TooLarge: http.StatusRequestEntityTooLarge, errs.Busy: http.StatusTooManyRequests, errs.Unavailable: http.StatusServiceUnavailable,
}

// answer sends a value, or the refusal that an error is.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		kind, text := errs.KindOf(err), errs.TextOf(err)
		status, known := statuses[kind]
		if !known {
			status, text = http.StatusInternalServerError, err.Error() // the server is the only reader, and it is trusted
		}
		w.WriteHeader(status)
		v = Problem{string(kind), text}
	}
	json.NewEncoder(w).Encode(v) // an error is that of the connection, which the other end sees too
}

func (a *Agent) getPackage(w http.ResponseWriter, r *http.Request) {
	d := r.PathValue("digest")
	answer(w, PackageState{a.work.Packages().Has(d), a.work.Packages().Partial(d)}, nil)
}

// patchPackage appends to a package file: Upload-Offset says where, Upload-Length how
// long the whole is.
func (a *Agent) patchPackage(w http.ResponseWriter, r *http.Request) {
	offset, err := number(r.Header.Get("Upload-Offset"))
	if err != nil {
		answer(w, nil, errs.New(errs.Invalid, "Upload-Offset is no number of bytes."))
		return
	}
	size, err := number(r.Header.Get("Upload-Length"))
	if err != nil || offset > size {
		answer(w, nil, errs.New(errs.Invalid, "Upload-Length is no number of bytes, or less than Upload-Offset."))
		return
	}
	digest, store := r.PathValue("digest"), a.work.Packages()
	if store.Has(digest) {
		answer(w, PackageState{Have: true}, nil)
		return
	}
	a.makeRoom()
	total, err := store.Append(r.Context(), digest, offset, size, r.Body)
	if err == nil && total == size {
		err = store.Finish(r.Context(), digest, size)
	}
	answer(w, PackageState{Have: err == nil && total == size, Partial: total}, err)
}

// number reads a number that is not negative.
func number(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err
}

func (a *Agent) putWork(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxSpec+1))
	if err != nil {
		answer(w, nil, errs.Wrap(errs.Unavailable, err, "The work did not arrive whole: %v.", err))
		return
	}
	if len(b) > maxSpec {
		answer(w, nil, errs.New(errs.TooLarge, "The work is larger than %d MB.", maxSpec>>20))
		return
	}
	var spec execution.Spec
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields() // what is not understood must not be half done
	if err := dec.Decode(&spec); err != nil {
		answer(w, nil, errs.New(errs.Invalid, "The work is not understood: %v.", err).WithHint("Upgrade the agent to the version of the server."))
		return
	}
	if spec.ID != r.PathValue("id") {
		answer(w, nil, errs.New(errs.Invalid, "The id of the work is not that of the path."))
		return
	}
	st, err := a.work.Start(spec)
	if err == nil {
		a.log.Info("work", "execution", spec.ID, "task", spec.Task, "kind", spec.Kind, "state", string(st.State))
	}
	answer(w, st, err)
}

func (a *Agent) getWork(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	offset, err := number("0" + q.Get("offset"))
	if err != nil {
		answer(w, nil, errs.New(errs.Invalid, "offset is no number of bytes."))
		return
	}
	wait, err := number("0" + q.Get("wait"))
	if err != nil {
		answer(w, nil, errs.New(errs.Invalid, "wait is no number of milliseconds."))
		return
	}
	u, err := a.work.Watch(r.Context(), r.PathValue("id"), offset, time.Duration(min(wait, MaxWait.Milliseconds()))*time.Millisecond)
	answer(w, u, err)
}
