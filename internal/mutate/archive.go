package main

// ofArchive are those of the archive.
func ofArchive() []mutant {
	return []mutant{
		{"purge-blind", "a prefix is purged that was not compared with the archive", []edit{{
			"pkg/archive/archiver.go", "if err := w.r.cfg.Archive.Compare(ctx, w.log, w.out.First, to); err != nil {", "if err := error(nil); err != nil {",
		}}, []suite{{"pkg/writer", "TestNothingIsPurgedThatIsNotInTheArchive"}}},
		{"purge-gap", "a reader does not look for purged messages in the archive", []edit{{
			"pkg/archive/join.go", "\t\t\t\tc.until = m.Sequence - 1\n", "",
		}}, []suite{{"pkg/archive", "TestPurgedWhileItIsRead"}, {"pkg/jetlog", "TestReadersLagBehindAPurge"}}},
		{"away-damage", "an archive that is not mounted is taken for damage of the log", []edit{{
			"pkg/archive/archive.go", "\tif errors.Is(err, ErrNotFound) {\n\t\treturn a.away(log, err.Error())", "\tif false {\n\t\treturn a.away(log, err.Error())",
		}}, []suite{{"pkg/archive", "TestAPlaceThatIsNotThereIsAway"}}},
		{"away-missing", "what the log says was archived is taken for missing where the archive is not mounted", []edit{{
			"pkg/archive/away.go", "case p.cut < sequence:", "case true:",
		}}, []suite{{"pkg/archive", "TestAPlaceThatIsNotThereIsAway"}}},
		{"second-place", "a log is archived on into a place that lacks its beginning", []edit{{
			"pkg/archive/extend.go", "\tif err := a.still(ctx, log.Name(), behind); err != nil {\n\t\treturn s, false, err\n\t}\n", "",
		}}, []suite{{"pkg/archive", "TestAPlaceThatGoesAwayInTheMiddle"}}},
		{"no-place", "a log is archived without a look whether the place has what was purged", []edit{{
			"pkg/archive/archiver.go", "if err := w.r.cfg.Archive.Whole(ctx, w.log); err != nil || w.out.Archived > 0 {", "if w.out.Archived > 0 {",
		}}, []suite{{"pkg/archive", "TestNothingIsArchivedIntoAnotherPlace|TestARecordNamesItsPlace"}}},
		{"cold-head", "an archived aggregate takes commands", []edit{{
			"pkg/writer/decide.go", "\t\tif h.cold {", "\t\tif false {",
		}}, []suite{{"pkg/writer", "TestAnArchivedAggregateIsLocked"}}},
	}
}
