package main

import "slices"

// mutant is one promise taken out of the code, and tests that must notice.
type mutant struct {
	name  string // short, for -only
	off   string // what is off
	edits []edit
	tests []suite // each of them has to fail
}

// edit replaces a text that stands exactly once in a file.
type edit struct{ file, from, to string }

// suite is tests of one package: a regular expression for go test -run.
type suite struct{ pkg, run string }

// mutants is the table. Texts that are gone make the run fail: then the row has to follow the code.
func mutants() []mutant { return slices.Concat(ofTheLog(), ofLeases(), ofForgetting(), ofArchive()) }

func ofTheLog() []mutant {
	return []mutant{
		{"fence-server", "an append does not name the last sequence that it expects", []edit{{
			"pkg/jetlog/append.go", "jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(expected, 10)},", "",
		}}, []suite{{"pkg/jetlog", "TestStoreConforms$/^(Rivals|WrongExpectation|PipelinedRivals)"}}},
		{"fence-epoch", "what became of a block is said before an epoch block has its place", []edit{{
			"pkg/writer/recover.go", "if err := e.log.Append(fence.sequence-1, fence.Encode()).Err(); err != nil {", "if e.chain.Epoch > 0 {\n\t\treturn nil\n\t}\n\tif err := e.log.Append(fence.sequence-1, fence.Encode()).Err(); err != nil {",
		}}, []suite{{"pkg/writer", "TestUnknownOutcomesOverTheWire"}}},
		{"void-block", "a block counts although it does not continue the one before", []edit{{
			"pkg/event/chain.go", "case c.resync || c.continues(v.Block, events(v.Commits)):", "case true:",
		}}, []suite{{"pkg/event", "TestChainVectors"}, {"pkg/writer", "TestVoidBlocksAreSkipped"}}},
		{"void-epoch", "a block of a lower epoch continues", []edit{{
			"pkg/event/chain.go", "grown && b.Epoch >= c.Epoch && b.Time > c.Time", "grown && b.Time > c.Time",
		}}, []suite{{"pkg/event", "TestChainVectors"}}},
		{"sync-check", "servers that do not flush pass", []edit{{
			"pkg/jetlog/sync.go", "\t\tif !s.SyncAlways {", "\t\tif false {",
		}}, []suite{{"pkg/jetlog", "TestCheckSync"}}},
		{"sync-setting", "the embedded server does not flush", []edit{{
			"cmd/internal/node/options.go", "SyncAlways:             !c.NoSync,", "SyncAlways:             false,",
		}}, []suite{{"cmd/internal/node", "TestEffectiveSettings"}}},
		{"window", "no command id is known again", []edit{{
			"pkg/writer/repeat.go", "func (e *engine) repeated(s *submission) bool {\n", "func (e *engine) repeated(s *submission) bool {\n\tif true {\n\t\treturn false\n\t}\n",
		}}, []suite{{"pkg/writer", "TestRepeatsGetTheFirstAnswer"}, {"pkg/writer", "TestTheWriterIsAPlainMap"}, {"pkg/writer", "TestConcurrentCommandsHaveAnOrder"}}},
		{"early-answer", "the answer leaves before the acknowledgement", []edit{{
			"pkg/writer/engine.go", "\te.inFlight = append(e.inFlight, b)\n", "\te.inFlight = append(e.inFlight, b)\n\tb.answer(e.name)\n\tb.waiting = nil\n",
		}}, []suite{{"pkg/writer", "TestUnknownOutcomesOverTheWire"}, {"pkg/writer", "TestEveryAppendFailsEachWay"}}},
		{"early-refusal", "a refusal leaves before what it rests on is acknowledged", []edit{{
			"pkg/writer/repeat.go", "if b := e.newest(); b != nil && restsOnLog(p) {", "if b := e.newest(); false && restsOnLog(p) {",
		}}, []suite{{"pkg/writer", "TestUnknownOutcomesOverTheWire"}}},
		{"position", "the state's position is not stored", []edit{{
			"pkg/writer/changes.go", "\t\tb.Set([]byte(keyMeta), c.meta.encode())\n", "",
		}}, []suite{{"pkg/writer", "TestRepeatsGetTheFirstAnswer"}, {"pkg/writer", "TestTheWriterIsAPlainMap"}}},
		{"position-apart", "the state's position is stored apart from the batch that leads to it", []edit{
			{"pkg/writer/changes.go", "\t\tb.Set([]byte(keyMeta), c.meta.encode())\n", ""},
			{"pkg/writer/changes.go", "\tc.st.meta, c.st.tail = c.meta, c.tail\n", "\tif err := c.st.store.Update(func(b *statestore.Batch) error { b.Set([]byte(keyMeta), c.meta.encode()); return nil }); err != nil {\n\t\treturn err\n\t}\n\tc.st.meta, c.st.tail = c.meta, c.tail\n"},
		}, []suite{{"pkg/writer", "TestEverySideEffectFailsEachWay$/^state_batch,_persisted_true,_the_process_ends_true"}}},
		{"unique-pending", "unique values of blocks under way are not looked at", []edit{{
			"pkg/writer/unique.go", "holders, ok = e.over.unique.get(key)", "_, _ = e.over.unique.get(key)",
		}}, []suite{{"pkg/writer", "TestOneOfManyRegistrationsSucceeds"}}},
		{"budget-pending", "units that blocks under way spend are not counted", []edit{{
			"pkg/writer/budget.go", "if n, ok := e.over.spent.get(tokenID); ok {", "if n, ok := e.over.spent.get(tokenID); ok && false {",
		}}, []suite{{"pkg/writer", "TestBudgetIsExactOverLogs"}}},
		{"budget-stored", "units are counted until the acknowledgement only", []edit{{
			"pkg/writer/budget.go", "return e.st.spent(tokenID)", "return 0, nil",
		}}, []suite{{"pkg/writer", "TestBudgetIsExactOverLogs"}, {"pkg/writer", "TestTheWriterIsAPlainMap"}}},
		{"budget-expiry", "budgets are forgotten when the clock says that their token expired", []edit{{
			"pkg/writer/system.go", "b.Expires >= now.Add(-budgetKept).Unix()", "b.Expires >= now.Unix()",
		}}, []suite{{"pkg/writer", "TestClockJumpsKeepBudgets"}}},
		{"block-time", "a block has the time of the clock, even if it goes back", []edit{{
			"pkg/writer/decide.go", "if before.At > 0 && now <= before.Time {", "if false {",
		}}, []suite{{"pkg/writer", "TestClockJumpsKeepTheWindow"}}},
	}
}

// ofLeases are those of who writes which log.
func ofLeases() []mutant {
	return []mutant{
		{"lease-answers", "answers that store nothing leave without the lease", []edit{{
			"pkg/lease/held.go", "return until != nil && l.good.Load() && !l.over.Load() && w.reading().before(*until)", "return until != nil || true",
		}}, []suite{{"pkg/writer", "TestAWokenMemberCannotAnswer"}}},
		{"lease-clock", "a lease holds until somebody tells its owner that it does not", []edit{{
			"pkg/lease/held.go", "return until != nil && l.good.Load() && !l.over.Load() && w.reading().before(*until)", "return until != nil && l.good.Load() && !l.over.Load()",
		}}, []suite{{"pkg/lease", "TestAPausedMemberHoldsNothing|TestRandomFaults"}}},
		{"lease-room", "a member without room keeps its logs", []edit{{
			"pkg/lease/room.go", "if !c.full || c.stopping ||", "if true || c.stopping ||",
		}}, []suite{{"pkg/lease", "TestAMemberWithoutRoomHandsItsLogsOver"}, {"pkg/writer", "TestAMemberWithoutRoomHandsOverUnderLoad"}}},
	}
}

// ofForgetting are those of encrypted fields.
func ofForgetting() []mutant {
	return []mutant{
		{"forgotten-key", "a key that was forgotten seals on", []edit{{
			"pkg/writer/sealer.go", "if err == nil && forgotten {", "if err == nil && forgotten && false {",
		}}, []suite{{"pkg/writer", "TestBetweenForgettingAndErasing"}}},
		{"erased-key", "a key that is forgotten is not erased", []edit{{
			"pkg/fieldkey/fieldkey.go", "return k.cfg.Bucket.Erase(ctx, k.name(a), revision)", "_ = revision\n\treturn nil",
		}}, []suite{{"pkg/writer", "TestForgettingFailsEachWay"}, {"pkg/fieldkey", "TestDestroyFailsEachWay"}}},
		{"secure-erase", "a key's message is deleted and not overwritten", []edit{{
			"pkg/jetlog/bucket.go", "return stream.SecureDeleteMsg(ctx, revision)", "return stream.DeleteMsg(ctx, revision)",
		}}, []suite{{"pkg/jetlog", "TestErasedKeysAreNotOnDisk"}}},
		{"key-order", "commands whose keys are in memory overtake those that wait for a key", []edit{{
			"pkg/writer/sealer.go", "if u.before == 0 && ready {", "if ready {",
		}}, []suite{{"pkg/writer", "TestKeysKeepTheOrder"}}},
		{"sealed-schema", "a command is stored as it was sealed, whatever the schema says by then", []edit{{
			"pkg/writer/sealer.go", "if s.seals == nil || s.seals.changes[i].schema != sch {", "if s.seals == nil {",
		}}, []suite{{"pkg/writer", "TestSealedCommandsThatWaitThroughAMigration"}}},
	}
}
