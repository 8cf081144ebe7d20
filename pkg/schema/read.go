package schema

// What a text reads as, by the grammars of the field types; Field's rules are not held against it.

// IsInteger reports whether a text is an integer, of any length.
func IsInteger(s string) bool { return isInteger(s) }

// IsDecimal reports whether a text is a decimal.
func IsDecimal(s string) bool { return isDecimal(s) }

// IsDate reports whether a text is a date.
func IsDate(s string) bool { return isDate(s) }

// IsDateTime reports whether a text is a datetime.
func IsDateTime(s string) bool { return isDateTime(s) }

// IsUUID reports whether a text is a UUID, in either case.
func IsUUID(s string) bool { return isUUID(s) }
