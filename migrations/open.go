package migrations

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"modernc.org/sqlite"
)

// mostPrepared is how many statements a connection keeps prepared. Preparing one takes
// 10 to 50 µs, which is more than most of ours take to run; keeping it takes some KiB.
const mostPrepared = 64

// Open is sql.Open for a file with the newest schema, of which each connection keeps the
// statements that it used last prepared. It opens no connection yet.
func Open(path string, readonly bool) (*sql.DB, error) {
	base, err := sqlite.NewConnector(DSN(path, readonly))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	begin := "begin immediate"
	if readonly {
		begin = "begin"
	}
	return sql.OpenDB(connector{base, begin}), nil
}

type connector struct {
	driver.Connector
	begin string
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := raw.(fullConn)
	if !ok { // another version of the driver: right, and slower
		return raw, nil
	}
	return &conn{fullConn: full, begin: c.begin, prepared: map[string]*prepared{}}, nil
}

// fullConn is what the driver's connections can do, and ours with them.
type fullConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.QueryerContext
	driver.ExecerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	NewBackup(destination string) (*sqlite.Backup, error)
	NewRestore(source string) (*sqlite.Backup, error)
}

// conn is a connection with its prepared statements. Like every connection of
// database/sql it is used by one goroutine at a time.
type conn struct {
	fullConn
	begin    string
	prepared map[string]*prepared
	uses     uint64
}

type prepared struct {
	driver.Stmt
	busy bool   // its rows are being read
	used uint64 // conn.uses at its last use
}

// statement finds or prepares a statement; nil when it is being read, as by a query
// inside the loop over the rows of the same query.
func (c *conn) statement(ctx context.Context, query string) (*prepared, error) {
	c.uses++
	if p, ok := c.prepared[query]; ok {
		if p.busy {
			return nil, nil
		}
		p.used = c.uses
		return p, nil
	}
	if len(c.prepared) >= mostPrepared {
		if err := c.dropOldest(); err != nil {
			return nil, err
		}
	}
	s, err := c.fullConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p := &prepared{Stmt: s, used: c.uses}
	c.prepared[query] = p
	return p, nil
}

// Statements is how many statements the connection was asked to run, begin and commit
// included. Tests of their number find it through [sql.Conn.Raw].
func (c *conn) Statements() uint64 { return c.uses }

func (c *conn) dropOldest() error {
	var oldest string
	used := c.uses
	for query, p := range c.prepared {
		if !p.busy && p.used < used {
			oldest, used = query, p.used
		}
	}
	p, ok := c.prepared[oldest]
	if !ok {
		return nil
	}
	delete(c.prepared, oldest)
	return p.Close()
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	p, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return c.fullConn.QueryContext(ctx, query, args)
	}
	in, err := p.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	p.busy = true
	return &rows{in, p}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	p, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return c.fullConn.ExecContext(ctx, query, args)
	}
	return p.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// rows gives the statement back when they are closed, which resets it: a statement that
// is not reset would keep a reader's picture of the file.
type rows struct {
	driver.Rows
	of *prepared
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	r.of.busy = false
	return err
}

// BeginTx begins as the connection's kind does. A transaction that is over before it
// began leaves the connection clean.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	begin := c.begin
	if o.ReadOnly {
		begin = "begin"
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := c.ExecContext(ctx, begin, nil); err != nil {
		if ctx.Err() != nil {
			_, _ = c.ExecContext(context.Background(), "rollback", nil) // it may have begun all the same
		}
		return nil, err
	}
	return (*transaction)(c), nil
}

type transaction conn

func (t *transaction) Commit() error {
	c := (*conn)(t)
	_, err := c.ExecContext(context.Background(), "commit", nil)
	if err != nil {
		// database/sql takes the transaction for ended. The commit's error is what counts;
		// there is nothing to roll back after some of them.
		_, _ = c.ExecContext(context.Background(), "rollback", nil)
	}
	return err
}

func (t *transaction) Rollback() error {
	_, err := (*conn)(t).ExecContext(context.Background(), "rollback", nil)
	return err
}

func (c *conn) Close() error {
	var err error
	for _, p := range c.prepared {
		if cerr := p.Close(); err == nil {
			err = cerr
		}
	}
	clear(c.prepared)
	if cerr := c.fullConn.Close(); err == nil {
		err = cerr
	}
	return err
}
