package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/eventfuldb/eventful/internal/postgrestest"
)

// postgres PORT PASSWORDFILE starts a PostgreSQL that ends with the script, and writes the password of its user test into a file.
func startPostgres(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: postgres PORTVAR PASSWORDFILE")
	}
	s, err := postgrestest.Launch()
	ts.Check(err)
	ts.Defer(func() { _ = s.Remove() })
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(s.Password), 0o600))
	ts.Setenv(args[0], strconv.Itoa(s.Port))
	ts.Setenv("POSTGRES_ADDRESS", s.Address("postgres", "sslmode=disable"))
}

// sql QUERY [WANT] runs a statement, again until its first row, columns joined by blanks, is what is wanted.
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: sql QUERY [WANT]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, ts.Getenv("POSTGRES_ADDRESS"))
	ts.Check(err)
	defer c.Close(ctx)
	if len(args) == 1 {
		_, err := c.Exec(ctx, args[0])
		ts.Check(err)
		return
	}
	poll(ts, args[1], func() bool { return firstRow(ctx, ts, c, args[0]) == args[1] })
}

func firstRow(ctx context.Context, ts *testscript.TestScript, c *pgx.Conn, query string) string {
	rows, err := c.Query(ctx, query)
	ts.Check(err)
	defer rows.Close()
	if !rows.Next() {
		ts.Check(rows.Err())
		return ""
	}
	values, err := rows.Values()
	ts.Check(err)
	return strings.TrimSpace(fmt.Sprintln(values...))
}
