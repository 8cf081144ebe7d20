package space

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limits say how much must stay free: the larger of the two counts. Both 0: nothing must.
type Limits struct {
	Bytes   uint64
	Percent int // of the whole file system, 0 to 99
}

// of is what must stay free of a file system of total bytes.
func (l Limits) of(total uint64) uint64 {
	return max(l.Bytes, total/100*uint64(l.Percent))
}

// Again is how much must be free of a file system of total bytes for writing to go on after it was refused.
func (l Limits) Again(total uint64) uint64 { return again(l.of(total)) }

// ofStore is what must stay free of what an administrator lets a JetStream store hold: the smaller one counts, since that number is no disk.
func (l Limits) ofStore(most uint64) uint64 {
	return min(l.Bytes, most/100*uint64(l.Percent))
}

// again is from where on writing goes on: a tenth more, so that a file system about its limit does not go back and forth.
func again(limit uint64) uint64 { return limit + limit/10 }

const units = "KMGTPE"

// Format is a number of bytes for people.
func Format(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/1024, 0
	for value >= 1024 && i < len(units)-1 {
		value /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}

// Parse reads a number of bytes: 1073741824, 512MiB, 1GiB, 1.5 GiB; the units are powers of 1024.
func Parse(text string) (uint64, error) {
	number, factor := strings.TrimSpace(text), uint64(1)
	for i, unit := range units {
		if cut, ok := strings.CutSuffix(number, string(unit)+"iB"); ok {
			number, factor = strings.TrimSpace(cut), 1<<(10*(i+1))
			break
		}
	}
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && n <= math.MaxInt64/factor {
		return n * factor, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || factor == 1 || !(f >= 0 && f*float64(factor) < math.MaxInt64) || strings.ContainsAny(number, "xXpPeE_") {
		return 0, errors.New("a number of bytes is wanted, for example 512MiB or 1GiB")
	}
	return uint64(f * float64(factor)), nil
}
