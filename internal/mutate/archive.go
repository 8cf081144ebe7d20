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
		{"cold-head", "an archived aggregate takes commands", []edit{{
			"pkg/writer/decide.go", "\t\tif h.cold {", "\t\tif false {",
		}}, []suite{{"pkg/writer", "TestAnArchivedAggregateIsLocked"}}},
	}
}
