package main

import (
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/eventfuldb/eventful/internal/natstest"
)

// certificate NAME DAYS makes NAME-ca.pem, NAME.pem and NAME.key: a CA of its own, and a certificate of it for 127.0.0.1 that ends in so many days.
func makeCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate NAME DAYS")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(natstest.Certificate(ts.MkAbs(args[0]), time.Now().AddDate(0, 0, days)))
}
