package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/app/runner"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/views"
)

// logged is a server with a task that waits, so that the test writes its log, and a
// person who may see it.
type logged struct {
	t       testing.TB
	s       *server
	space   *spaces.Space
	task    spaces.TaskID
	url     string
	session string
	log     *os.File
}

func newLogged(t testing.TB) *logged {
	t.Helper()
	ctx := context.Background()
	s, err := openServer(ctx, Config{Data: dataWith(t, 1), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute}, quiet(), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	l := &logged{t: t, s: s}
	row, err := s.instance.DefaultSpace(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.instance.UpdateSpace(ctx, instance.System(), row, instance.SpaceInput{Name: row.Name, IsDefault: true, TaskQueueStopped: true}); err != nil {
		t.Fatal(err)
	}
	if l.space, err = s.spaces.Acquire(ctx, refOf(row)); err != nil {
		t.Fatal(err)
	}
	task, err := spaces.Update(ctx, l.space, spaces.Server(), func(tx *spaces.Tx) (spaces.Task, error) { return tx.QueueHealthCheck(0) })
	if err != nil {
		t.Fatal(err)
	}
	l.task = task.ID
	if l.session, _, err = s.instance.SignIn(ctx, "ada", "correct-horse-battery", "127.0.0.1", "test"); err != nil {
		t.Fatal(err)
	}
	if l.log, err = os.OpenFile(filepath.Join(l.space.LogDir(), task.ID.String()+".jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	l.url = url
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		l.log.Close()
		l.space.Release()
		stop()
	})
	return l
}

// write appends lines with these numbers as a runner does.
func (l *logged) write(from, count int) {
	var b bytes.Buffer
	for n := from; n < from+count; n++ {
		fmt.Fprintf(&b, `{"t":"%s","c":"Info","m":"line %d of a log that is about as long as lines of logs are","n":%d}`+"\n", time.Now().UTC().Format(time.RFC3339Nano), n, time.Now().UnixNano())
	}
	if _, err := l.log.Write(b.Bytes()); err != nil {
		l.t.Error(err)
	}
	l.space.Hub().Publish(runner.LogTopic(l.task))
}

// follow opens the stream of the task's page.
func (l *logged) follow(ctx context.Context, session, query, last string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", l.url+views.StreamURL(l.space.Slug())+"?topics=tasks&log="+l.task.String()+query, nil)
	if err != nil {
		return nil, err
	}
	req.AddCookie(&http.Cookie{Name: "octopuses_session", Value: session})
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	return http.DefaultClient.Do(req)
}

// A page that follows a log gets each line once, also after it lost its connection, and
// only if its person may see the task.
func TestLiveLog(t *testing.T) {
	t.Parallel()
	l := newLogged(t)
	read := func(query, last string, want int) (lines []string, id string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		res, err := l.follow(ctx, l.session, query, last)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		defer res.Body.Close()
		in := bufio.NewScanner(res.Body)
		event := ""
		for len(lines) < want && in.Scan() {
			key, value, _ := strings.Cut(in.Text(), ": ")
			switch {
			case key == "id":
				id = value
			case key == "event":
				event = value
			case key == "data" && event == "log":
				_, text, _ := strings.Cut(value, `"m":"line `)
				number, _, _ := strings.Cut(text, " ")
				lines = append(lines, number)
			}
		}
		if err := in.Err(); err != nil {
			t.Fatal(err)
		}
		return lines, id
	}
	l.write(1, 3)
	if _, err := l.log.WriteString(`{"t":"half a li`); err != nil {
		t.Fatal(err)
	}
	got, at := read("&from=0", "", 3)
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("from the beginning: %v", got)
	}
	if _, err := l.log.WriteString("ne\"}\n"); err != nil {
		t.Fatal(err)
	}
	l.write(5, 2)
	if got, _ := read("&from=0", at, 3); !slices.Equal(got, []string{"", "5", "6"}) {
		t.Errorf("after %s: %v", at, got)
	}
	for _, query := range []string{"", "&from=-1", "&from=x"} {
		res, err := l.follow(t.Context(), l.session, query, "")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnprocessableEntity && res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", query, res.Status)
		}
	}
	// Somebody of the space who may see no tasks.
	eve, err := l.s.instance.CreateUser(t.Context(), instance.System(), instance.UserInput{Username: "eve", Password: "correct-horse-battery"})
	if err != nil {
		t.Fatal(err)
	}
	team, err := l.s.instance.CreateTeam(t.Context(), instance.System(), instance.TeamInput{Name: "Packagers", Space: 1, Members: []int64{eve.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.s.instance.CreateScopedRole(t.Context(), instance.System(), instance.ScopedRole{TeamID: team.ID, Role: "userroles-packagepublisher", Space: 1}); err != nil {
		t.Fatal(err)
	}
	session, _, err := l.s.instance.SignIn(t.Context(), "eve", "correct-horse-battery", "127.0.0.1", "test")
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.follow(t.Context(), session, "&from=0", "")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusNotFound {
		t.Errorf("who may see no task gets its log: %s", res.Status)
	}
}

// BenchmarkLiveLog has 50 browsers follow a log that grows by 10,000 lines a second, an
// iteration is 10 ms of it. Budget: from a line's writing to its reading at most 25 ms at
// the 99th percentile, and no line lost (which fails the benchmark). The browsers are on
// the same cores.
func BenchmarkLiveLog(b *testing.B) {
	const browsers, step = 50, 20 // lines at once, every 2 ms
	l := newLogged(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	total := b.N * 100
	var group, ready sync.WaitGroup
	lags := make([][]time.Duration, browsers)
	for i := range browsers {
		ready.Add(1)
		group.Go(func() {
			res, err := l.follow(ctx, l.session, "&from=0", "")
			ready.Done()
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			in := bufio.NewReaderSize(res.Body, 256<<10)
			for seen := 0; seen < total; {
				line, err := in.ReadSlice('\n')
				if err != nil {
					b.Errorf("browser %d: %v after %d of %d lines", i, err, seen, total)
					return
				}
				if !bytes.HasPrefix(line, []byte(`data: {"t"`)) {
					continue
				}
				written, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ':')+1:len(line)-2]), 10, 64)
				if err != nil || !bytes.Contains(line, fmt.Appendf(nil, `"line %d of`, seen+1)) {
					b.Errorf("browser %d: line %d is missing: %s", i, seen+1, line)
					return
				}
				seen++
				lags[i] = append(lags[i], time.Since(time.Unix(0, written)))
			}
		})
	}
	ready.Wait()
	b.ResetTimer()
	began := time.Now()
	for n := 0; n < total; n += step {
		time.Sleep(time.Until(began.Add(time.Duration(n) * 100 * time.Microsecond)))
		l.write(n+1, step)
	}
	group.Wait()
	all := slices.Concat(lags...)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-lag-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-lag-ms")
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "lines/s")
}
