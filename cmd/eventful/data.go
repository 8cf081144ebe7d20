package main

import "github.com/spf13/cobra"

// dataCommands are the commands that write, read, prove and import.
func dataCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newEventAddCommand(a),
		newEventGetCommand(a),
		newAggregateGetCommand(a),
		newAggregateHistoryCommand(a),
		newAggregateListCommand(a),
		newAggregateSnapshotCommand(a),
		newAggregateSnapshotsCommand(a),
		newAggregateApplyCommand(a),
		newAggregateStagedCommand(a),
		newAggregateCommitCommand(a),
		newAggregateDiscardCommand(a),
		newAggregateVerifyCommand(a),
		newAggregateExportCommand(a),
		newDataImportCommand(a),
		newAuditListCommand(a),
		newDataForgetCommand(a),
		newDataRollbackCommand(a),
		newAggregateRollbackCommand(a),
		newInboxStatusCommand(a),
		newInboxRefusedCommand(a),
		newInboxRetryCommand(a),
		newInboxPurgeCommand(a),
		newSchemaCreateCommand(a),
		newSchemaAlterCommand(a),
		newSchemaRemoveCommand(a),
		newSchemaApplyCommand(a),
		newSchemaMigrateCommand(a),
		newSchemaListCommand(a),
		newSchemaShowCommand(a),
		newWriterListCommand(a),
		newWriterResignCommand(a),
		newTokenGenerateCommand(a),
		newTokenUpdateCommand(a),
		newTokenShowCommand(a),
		newTokenListCommand(a),
		newTokenRefreshCommand(a),
		newTokenRevokeCommand(a),
		newTokenAuthCommand(a),
		newTokenLogoutCommand(a),
	}
}
