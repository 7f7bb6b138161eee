package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func (s *story) promote(ctx context.Context, release, version string) (inbound string, err error) {
	return inbound, s.step(ctx, "Promote "+version+" over the link", func(ctx context.Context) (string, error) {
		var p struct{ Id string }
		if err := s.dev.call(ctx, http.MethodPost, "/zones/promotions", object{"ReleaseId": release, "Link": s.link}, &p); err != nil {
			return "", err
		}
		if inbound, err = s.awaitInbox(ctx, version); err != nil {
			return "", err
		}
		var sent struct{ BytesTotal, BytesSent int64 }
		err := until(ctx, 10*time.Second, "the transfer is counted", func() (bool, error) {
			return sent.BytesSent > 0, s.dev.call(ctx, http.MethodGet, "/zones/promotions/"+p.Id, nil, &sent)
		})
		return fmt.Sprintf("%.2f of %.1f MB travelled (%.1f %%)", float64(sent.BytesSent)/1e6, float64(sent.BytesTotal)/1e6, 100*float64(sent.BytesSent)/float64(sent.BytesTotal)), err
	})
}

func (s *story) awaitInbox(ctx context.Context, version string) (id string, err error) {
	return id, until(ctx, time.Minute, version+" is in the inbox of Prod", func() (bool, error) {
		var all []struct{ Id, Version, State string }
		if err := s.prod.call(ctx, http.MethodGet, "/zones/inbox", nil, &all); err != nil {
			return false, err
		}
		for _, i := range all {
			if i.Version == version && (i.State == "verified" || i.State == "needs input") {
				id = i.Id
				return true, nil
			}
		}
		return false, nil
	})
}

// carry takes a release over as a file, as if there were no network.
func (s *story) carry(ctx context.Context, release, version string) (inbound string, err error) {
	file := filepath.Join(s.Folder, "Storefront-"+version+".octb")
	return inbound, s.step(ctx, "Carry "+version+" to the Prod zone as a file", func(ctx context.Context) (string, error) {
		if err := s.pause(ctx, "paused"); err != nil {
			return "", err
		}
		var p struct{ Id string }
		if err := s.dev.call(ctx, http.MethodPost, "/zones/promotions", object{"ReleaseId": release, "Link": s.link, "ByHand": true}, &p); err != nil {
			return "", err
		}
		out, err := os.Create(file)
		if err != nil {
			return "", err
		}
		if err := errors.Join(s.dev.call(ctx, http.MethodGet, "/zones/promotions/"+p.Id+"/bundle", nil, out), out.Close()); err != nil {
			return "", err
		}
		in, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return "", err
		}
		var got struct{ Id, State string }
		if err := s.prod.call(ctx, http.MethodPost, "/zones/inbox", in, &got); err != nil {
			return "", err
		}
		inbound = got.Id
		return fmt.Sprintf("%s, %.1f MB", filepath.Base(file), float64(info.Size())/1e6), nil
	})
}

func (s *story) pause(ctx context.Context, state string) error {
	return errors.Join(s.dev.call(ctx, http.MethodPost, "/zones/links/"+s.link+"/state", object{"State": state}, nil), s.prod.call(ctx, http.MethodPost, "/zones/links/"+s.back+"/state", object{"State": state}, nil))
}

// carryBack brings the receipts to Dev as a file.
func (s *story) carryBack(ctx context.Context, version string) error {
	return s.step(ctx, "Carry the receipts back as a file", func(ctx context.Context) (string, error) {
		var file bytes.Buffer
		if err := s.prod.call(ctx, http.MethodGet, "/zones/links/"+s.back+"/receipts", nil, &file); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(s.Folder, "receipts-"+version+".octr"), file.Bytes(), 0o644); err != nil {
			return "", err
		}
		var out struct{ New int }
		if err := s.dev.call(ctx, http.MethodPost, "/zones/receipts", &file, &out); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d receipts", out.New), s.pause(ctx, "active")
	})
}
