package main

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/doctor"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const doctorHelp = `Look for what endangers the data or the service, and say what to do about it. Nothing is changed.

Checked are file permissions, versions, free space, whether the key file opens, and on the server that runs on the data folder, or the nats-servers
that --server names: whether each write is flushed, clocks, the settings and replicas of every log, the archive, the writer, the index and the local stores. It
needs the DEK, as start does. What cannot be checked is said. The exit status is 0 without findings, 1 with any.`

func newDoctorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "doctor", Short: "Look for what endangers the data or the service", Long: doctorHelp, Args: cobra.NoArgs}
	secretFlags(cmd, settings.DEK)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) }
	return cmd
}

func (a *app) doctor(ctx context.Context) error {
	if err := a.mustBeConfigured(); err != nil {
		return err
	}
	config, err := a.patient()
	if err != nil {
		return err
	}
	p := a.printer("CHECK", "OUTCOME", "DETAIL")
	findings := 0
	for _, r := range doctor.Examine(ctx, config) {
		if err := p.add(r, r.Check, string(r.Outcome), r.Detail); err != nil {
			return err
		}
		if r.Outcome != doctor.Finding {
			continue
		}
		findings++
		if a.form == "table" {
			p.line([]string{"", "do", r.Remedy})
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	if findings > 0 {
		return problem.New(problem.Invalid, "findings: %d", findings).WithHint("each says what to do about it; run `eventful doctor` again behind that")
	}
	return nil
}

// patient is what doctor examines.
func (a *app) patient() (doctor.Config, error) {
	c := doctor.Config{DataDir: a.settings.DataDir, Version: run.Version(), URL: a.settings.Server, Now: time.Now, Limits: a.settings.Space, Archive: run.ArchiveOf(a.settings)}
	var err error
	if c.Keys, c.Secrets, err = a.openKeys(); err != nil {
		p := problem.From(err)
		c.KeyError = &doctor.Problem{Detail: p.Detail, Remedy: p.Hint}
	}
	if path, err := a.settings.DEKPath(); err == nil {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			c.DEKFile = path
		}
	}
	if dir, err := a.sessionFolder(); err == nil {
		c.SessionKey = filepath.Join(dir, sessionKeyFile)
	}
	if c.URL == "" {
		if c.Running, err = run.Find(c.DataDir); err != nil {
			return c, err
		}
		if c.Running != nil {
			c.URL = c.Running.NATS
		}
	}
	c.Host, c.Certificate = a.settings.Host, a.settings.TLSCert
	if c.Running != nil {
		c.Certificate = c.Running.Certificate
		if at, err := url.Parse(c.Running.HTTP); err == nil && c.Running.HTTP != "" {
			c.Host = at.Hostname()
		}
	}
	if c.Trust, err = a.trust(c.URL); err != nil {
		return c, err
	}
	c.Status = func(ctx context.Context, answer any) error {
		credential, _, err := c.Secrets.LocalUser()
		if err != nil {
			return err
		}
		nc, err := client.Connect(ctx, client.Options{URL: c.URL, TLS: c.Trust, Token: client.Static(credential), Name: "eventful doctor"})
		if err != nil {
			return err
		}
		defer nc.Close()
		return nc.Status(ctx, answer)
	}
	return c, nil
}
