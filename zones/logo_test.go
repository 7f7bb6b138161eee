package zones_test

import (
	"bytes"
	"database/sql"
	"errors"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones/bundle"
)

func pictureOf(t testing.TB, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The logo of a project goes along, changes and goes with the next release; the target
// cannot change it, and a peer whose logo is none is refused and changes nothing.
func TestLogoGoesAlong(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	small, other := pictureOf(t, 64), pictureOf(t, 32)
	logoThere := func(id spaces.ProjectID) []byte {
		t.Helper()
		return view(prod, func(tx *spaces.ReadTx) ([]byte, error) {
			l, err := tx.Logo(id)
			if errors.Is(err, errs.NotFound) {
				err = nil
			}
			return l.Bytes, err
		})
	}
	var remote spaces.ProjectID
	for _, x := range []struct {
		version string
		logo    []byte
	}{{"1.0.0", small}, {"1.1.0", other}, {"1.2.0", nil}} {
		update(dev, func(tx *spaces.Tx) (spaces.Project, error) { return tx.SetLogo(p.ID, x.logo) })
		file := dev.export(t, dev.promote(t, p, toProd, x.version, []byte("package "+x.version), true))
		r, err := bundle.Inspect(ctx, bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.Text(&text); err != nil || strings.Contains(text.String(), "\nlogo ") != (x.logo != nil) || !bytes.Equal(r.Bundle.Statement.Project.Logo, x.logo) {
			t.Errorf("%s: the bundle says %s, %v", x.version, text.String(), err)
		}
		remote = prod.accept(t, prod.take(t, file)).ProjectID
		if got := logoThere(remote); !bytes.Equal(got, x.logo) {
			t.Errorf("%s: %d bytes arrived, not %d", x.version, len(got), len(x.logo))
		}
	}
	if _, err := spaces.Update(ctx, prod.space, spacetest.Manager(), func(tx *spaces.Tx) (spaces.Project, error) { return tx.SetLogo(remote, small) }); !errors.Is(err, errs.Blocked) {
		t.Errorf("the target changes it: %v", err)
	}

	// Whoever writes into his own file past the rules signs what he likes.
	for name, bad := range map[string][]byte{"a page": []byte("<svg><script>alert(1)</script></svg>"), "a bomb": pictureOf(t, 5000)} {
		update(dev, func(tx *spaces.Tx) (spaces.Project, error) { return tx.SetLogo(p.ID, small) })
		db, err := sql.Open("sqlite", filepath.Join(dev.space.Dir(), "space.db"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = db.Exec(`UPDATE project_logo SET bytes = ?`, bad); err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		file := dev.export(t, dev.promote(t, p, toProd, map[string]string{"a page": "2.0.0", "a bomb": "2.1.0"}[name], []byte("package "+name), true))
		before := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(100) }))
		_, err = prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file))
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "logo") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(100) })); n != before {
			t.Errorf("%s is in the inbox", name)
		}
		update(dev, func(tx *spaces.Tx) (spaces.Project, error) { return tx.SetLogo(p.ID, nil) })
	}
}
