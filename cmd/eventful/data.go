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
		newAggregateVerifyCommand(a),
		newAggregateExportCommand(a),
		newDataImportCommand(a),
		newSchemaCreateCommand(a),
		newSchemaAlterCommand(a),
		newSchemaRemoveCommand(a),
		newSchemaApplyCommand(a),
		newSchemaMigrateCommand(a),
		newSchemaListCommand(a),
		newSchemaShowCommand(a),
		newTokenGenerateCommand(a),
		newTokenAuthCommand(a),
		newTokenLogoutCommand(a),
	}
}
