package statestore

// ReadManifest, CheckWAL and CheckFooter judge files of Badger before it opens them.
func ReadManifest(path string) error {
	_, err := readManifest(path)
	return classify(err)
}

func CheckWAL(data []byte, newest bool) error { return checkWAL(data, newest) }

func CheckFooter(data []byte) error { return checkFooter(data) }
