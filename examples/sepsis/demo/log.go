package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// eventLog is what the demo itself counts in the CSV, apart from EventfulDB, to compare with.
type eventLog struct {
	rows     int
	patients map[string][]activity // in file order
	groups   map[string]int        // rows
	first    string                // the first patient of the file
}

// activity is one row.
type activity struct {
	group    string
	occurred time.Time
	filled   bool   // a data column has a value
	sirs     string // two SIRS criteria or more: True, False, or nobody looked
}

// data are the columns that are no data of the event.
var notData = []string{"", "case:concept:name", "concept:name", "time:timestamp", "org:group", "lifecycle:transition"}

func readLog(path string) (*eventLog, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("count the CSV: %w", err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("count the CSV: %w", err)
	}
	log := &eventLog{patients: map[string][]activity{}, groups: map[string]int{}}
	for _, cells := range rows[1:] {
		var patient string
		var a activity
		for i, column := range rows[0] {
			switch {
			case column == "case:concept:name":
				patient = cells[i]
			case strings.EqualFold(column, "SIRSCriteria2OrMore"):
				a.sirs, a.filled = cells[i], a.filled || cells[i] != ""
			case column == "org:group":
				a.group = cells[i]
			case column == "time:timestamp":
				if a.occurred, err = time.Parse("2006-01-02 15:04:05-07:00", cells[i]); err != nil {
					return nil, fmt.Errorf("count the CSV: %w", err)
				}
			case !slices.Contains(notData, column) && cells[i] != "":
				a.filled = true
			}
		}
		if log.first == "" {
			log.first = patient
		}
		log.rows++
		log.groups[a.group]++
		log.patients[patient] = append(log.patients[patient], a)
	}
	return log, nil
}
