package spaces

import (
	"errors"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"octopuses.dev/octopuses/spaces/errs"
)

// storeError gives the engine's errors our kinds. Whoever knows the entity and the
// field says more; the engine's text never reaches a person.
func storeError(err error) error {
	var se *sqlite.Error
	if err == nil || !errors.As(err, &se) {
		return err
	}
	switch code := se.Code(); {
	case code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return errs.Wrap(errs.Exists, err, "Something with this name or number is already there.")
	case code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return errs.Wrap(errs.Blocked, err, "It is used elsewhere, or refers to something that does not exist.")
	case code&0xff == sqlite3.SQLITE_FULL:
		return errs.Wrap(errs.Unavailable, err, "The disk of the server is full.").WithHint("Free some space on the disk that holds the data directory; nothing was changed.")
	case code&0xff == sqlite3.SQLITE_BUSY || code&0xff == sqlite3.SQLITE_LOCKED:
		return errs.Wrap(errs.Busy, err, "The space is busy.").WithHint("Try again in a moment.")
	case code&0xff == sqlite3.SQLITE_IOERR:
		return errs.Wrap(errs.Unavailable, err, "The file of the space cannot be read or written.").WithHint("Look at the server's log and at its disk.")
	case code&0xff == sqlite3.SQLITE_CORRUPT || code&0xff == sqlite3.SQLITE_NOTADB:
		return errs.Wrap(errs.Unavailable, err, "The file of the space is damaged.").WithHint("Restore it from a backup.")
	}
	return err
}

// DiskFull reports whether err is that of a file of SQLite that found no room.
func DiskFull(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_FULL
}

// taken turns a broken unique constraint into a complaint about a field.
func taken(err error, field, format string, args ...any) error {
	if errors.Is(err, errs.Exists) {
		e := errs.Wrap(errs.Exists, err, format, args...)
		e.Fields = []errs.Field{{Name: field, Message: e.Message}}
		e.Message = ""
		return e
	}
	return err
}

// foreignKey reports whether err is a broken reference.
func foreignKey(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// like makes a LIKE pattern that finds text anywhere; use it with ESCAPE '\'.
func like(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}
