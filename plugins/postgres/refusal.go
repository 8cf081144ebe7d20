package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Classes and codes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	classData      = "22"
	classIntegrity = "23"
	classTriggered = "27"
	classCheck     = "44"
	classLimits    = "54"
	classRaised    = "P0"

	codeDuplicateTable = "42P07"
)

// code is the SQLSTATE of an error; empty if it is not one of PostgreSQL.
func code(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return ""
	}
	return pg.Code
}

// class is the first two characters of it.
func class(err error) string { return code(err)[:min(2, len(code(err)))] }

// refuses reports whether PostgreSQL will not have this change, ever: its values do not fit the types, or a constraint or trigger forbids them. Everything else speaks of
// the server, the way to it or who asks.
func refuses(err error) bool {
	switch class(err) {
	case classData, classIntegrity, classTriggered, classCheck, classLimits, classRaised:
		return true
	}
	return false
}

// told words an error without values of fields: what PostgreSQL says of data quotes them, so of a refusal only names are kept.
func told(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("reach PostgreSQL: %w", err)
	}
	if !refuses(err) {
		return fmt.Errorf("PostgreSQL answered %s: %s", pg.Code, pg.Message)
	}
	text := "PostgreSQL refused it: SQLSTATE " + pg.Code
	for _, part := range []struct{ what, name string }{{"table", pg.TableName}, {"column", pg.ColumnName}, {"constraint", pg.ConstraintName}} {
		if part.name != "" {
			text += ", " + part.what + " " + part.name
		}
	}
	return &refusal{text, pg}
}

// refusal is an error whose text is ours and whose cause is PostgreSQL's.
type refusal struct {
	text  string
	cause error
}

// Error gives the text.
func (r *refusal) Error() string { return r.text }

// Unwrap gives the cause, for its code; it is never shown.
func (r *refusal) Unwrap() error { return r.cause }
