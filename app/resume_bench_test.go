package app

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// cuttingProxy is a way to a server that breaks after so many bytes from there, so many
// times.
type cuttingProxy struct {
	net.Listener
	to    string
	every int64
	left  atomic.Int64  // cuts to come
	bytes atomic.Int64  // that came from the server
	cut   chan struct{} // has a place for each cut
}

func (c *cuttingProxy) run() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		go c.carry(in)
	}
}

func (c *cuttingProxy) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		_, _ = io.Copy(out, in)
		out.Close()
	}()
	carried, b := int64(0), make([]byte, 64<<10)
	for {
		n, err := out.Read(b)
		if _, werr := in.Write(b[:n]); err != nil || werr != nil {
			return
		}
		c.bytes.Add(int64(n))
		if carried += int64(n); carried >= c.every && c.left.Load() > 0 {
			c.left.Add(-1)
			c.cut <- struct{}{}
			return
		}
	}
}

// upload pushes a package of so many random bytes.
func (z *crashZone) uploadOf(name string, size int64) error {
	in, out := io.Pipe()
	form := multipart.NewWriter(out)
	go func() {
		w, err := form.CreateFormFile("file", name)
		if err == nil {
			pack := zip.NewWriter(w)
			if w, err = pack.CreateHeader(&zip.FileHeader{Name: "data", Method: zip.Store}); err == nil {
				if _, err = io.Copy(w, io.LimitReader(rand.NewChaCha8([32]byte{9}), size)); err == nil {
					err = errors.Join(pack.Close(), form.Close())
				}
			}
		}
		out.CloseWithError(err)
	}()
	req, err := http.NewRequest(http.MethodPost, "http://"+z.web+"/api/"+z.space+"/packages/raw", in)
	if err != nil {
		return err
	}
	req.Header.Set("X-Octopus-ApiKey", z.key)
	req.Header.Set("Content-Type", form.FormDataContentType())
	res, err := (&http.Client{Timeout: 5 * time.Minute}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusCreated {
		return fmt.Errorf("upload: %s %s %w", res.Status, b, err)
	}
	return nil
}

// killBoth is kill -9 of both servers, which come back by themselves.
func (p *pair) killBoth() {
	for _, z := range []*crashZone{p.target, p.source} {
		z.mu.Lock()
		running := z.running
		z.mu.Unlock()
		running.kill()
	}
}

// BenchmarkResume moves a package file of 1 GiB from one server to another over a link
// that is cut twenty times, at every fifth of which both servers are killed. Z46: at most
// 4 MiB more for each cut than the file has; the benchmark fails above.
//
// Seen on 2026-11-24 on two shared cores: 0.9 MiB more for each cut, 64 MB/s with the pauses
// and starts.
func BenchmarkResume(b *testing.B) {
	const size, cuts, slack, version = 1 << 30, 20, 4 << 20, "2.0.0"
	var proxy *cuttingProxy
	p, err := newPair(b, b.TempDir(), func(p *pair) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		proxy = &cuttingProxy{Listener: l, to: p.source.zones, every: size / (cuts + 2), cut: make(chan struct{}, cuts)}
		p.source.front = l.Addr().String()
		go proxy.run()
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if err := p.fresh("pull", crashCase{}); err != nil {
			b.Fatal(err)
		}
		if err := p.source.uploadOf("Shop."+version+".zip", size); err != nil {
			b.Fatal(err)
		}
		if err := p.source.in(http.MethodPost, "/releases/create/v1", object{"projectName": "Shop", "releaseVersion": version, "packageVersion": version}, nil); err != nil {
			b.Fatal(err)
		}
		proxy.bytes.Store(0)
		proxy.left.Store(cuts)
		b.StartTimer()
		if err := p.promote(version, false)(); err != nil {
			b.Fatal(err)
		}
		done, killed := 0, 0
		for whole, until := false, time.Now().Add(5*time.Minute); !whole; {
			if time.Now().After(until) {
				b.Fatalf("it is not there within 5 minutes, after %d cuts\n%s", done, p.account())
			}
			select {
			case <-proxy.cut:
				if done++; done%5 == 0 {
					p.killBoth()
					killed++
				}
			case <-time.After(20 * time.Millisecond):
				n, err := p.target.rows(`SELECT count(*) FROM inbound WHERE state = 'verified'`)
				whole = err == nil && n == "1"
			}
		}
		b.StopTimer()
		more := proxy.bytes.Load() - size
		if done != cuts || killed != cuts/5 {
			b.Fatalf("%d cuts, killed %d times", done, killed)
		}
		if more > cuts*slack {
			b.Errorf("%d bytes more than the file has, at most %d", more, int64(cuts*slack))
		}
		b.ReportMetric(float64(more)/cuts/(1<<20), "MiB-again/cut")
		b.StartTimer()
	}
	b.SetBytes(size)
}
