package schema

import (
	"slices"
	"strings"
)

// maxHints is how many known names a hint lists.
const maxHints = 10

// nearest lists the known names, those nearest to name first, ten at most. Distance
// is that of Levenshtein over bytes, case apart; what name begins is as near as a slip of one byte.
func nearest(name string, known []string) string {
	if len(known) == 0 {
		return "none"
	}
	type candidate struct {
		name     string
		distance int
	}
	name = strings.ToLower(clip(name))
	all := make([]candidate, len(known))
	row := make([]int, 1+len(name))
	for i, k := range known {
		all[i] = candidate{k, distance(strings.ToLower(k), name, row)}
		if name != "" && strings.HasPrefix(strings.ToLower(k), name) {
			all[i].distance = min(1, all[i].distance)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out strings.Builder
	for i, c := range all[:min(len(all), maxHints)] {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(c.name)
	}
	if len(all) > maxHints {
		out.WriteString(", …")
	}
	return out.String()
}

// distance uses row, of length 1+len(b), as its working memory.
func distance(a, b string, row []int) int {
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
