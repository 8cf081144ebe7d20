package run

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/token"
)

// restoreKeys puts auth keys back into the account APP that the system log records and the account lacks, or holds with the template of an earlier version: the
// servers' account files were lost or put back from an older copy, or this version is newer. The operator approved each key when it was recorded; its signing key signs the account again.
func (e Engines) restoreKeys(ctx context.Context, api natsapi.Config) error {
	account, err := api.Account(ctx)
	if err != nil {
		return err
	}
	restored := 0
	for _, k := range api.Writer.Keys() {
		if k.Revoked || token.CheckAuthKey(account, k) == nil {
			continue
		}
		if account, err = token.RestoreAuthKey(account, e.Secrets.OperatorSigningSeed, k); err != nil {
			return fmt.Errorf("restore auth key %s: %w", k.ID, err)
		}
		restored++
	}
	if restored == 0 {
		return nil
	}
	if err := api.SetAccount(ctx, account); err != nil {
		return err
	}
	e.Log.Warn().Int("keys", restored).Msg("auth keys were missing in the account APP, or had an older template, and were restored from the system log")
	return nil
}
