package main

import "github.com/spf13/cobra"

// dataCommands are the commands that write, read, prove and import.
func dataCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newEventAddCommand(a),
		newEventGetCommand(a),
		newEventListCommand(a),
		newEventTraceCommand(a),
		newEventTailCommand(a),
		newAggregateGetCommand(a),
		newAggregateHistoryCommand(a),
		newAggregateReplayCommand(a),
		newAggregateListCommand(a),
		newAggregateSnapshotCommand(a),
		newAggregateSnapshotsCommand(a),
		newAggregateApplyCommand(a),
		newAggregateStagedCommand(a),
		newAggregateCommitCommand(a),
		newAggregateDiscardCommand(a),
		newAggregateVerifyCommand(a),
		newAggregateExportCommand(a),
		newLogCheckpointCommand(a),
		newLogProveCommand(a),
		newLogExportCommand(a),
		newLogVerifyCommand(a),
		newDataImportCommand(a),
		newAuditListCommand(a),
		newDataForgetCommand(a),
		newDataRollbackCommand(a),
		newAggregateRollbackCommand(a),
		newEventArchiveCommand(a),
		newAggregateArchiveCommand(a),
		newAggregateRestoreCommand(a),
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
		newProjectorRebuildCommand(a),
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

// pluginCommands are the commands about plugins.
func pluginCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newPluginConfigCommand(a),
		newPluginListCommand(a),
		newPluginShowCommand(a),
		newPluginEnableCommand(a),
		newPluginDisableCommand(a),
		newPluginRemoveCommand(a),
		newPluginTestCommand(a),
		newPluginReplayCommand(a),
		newPluginParkedCommand(a),
		newPluginLogsCommand(a),
	}
}
