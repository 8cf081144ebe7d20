package run

import "path/filepath"

// What lies in a data folder besides config.toml. Only the JetStream store and the key file cannot be rebuilt.
const (
	KeyFile     = "keys.json"    // the site's keys, sealed; see package keyring
	storeDir    = "jetstream"    // the logs
	resolverDir = "accounts"     // account JWTs of the NATS server
	stateDir    = "state"        // of the writer: one folder a log
	indexDir    = "index"        // of the projector
	enteredFile = "acts-entered" // acts of the key file that stand in the system log
	signedDir   = "checkpoints"  // what the writer signed of each log last: its own memory of it, beside the bucket
	lockFile    = "lock"         // held while a server runs on the folder
	pidFile     = "eventful.pid" // process id of the server, for people and supervisors
	infoFile    = "run.json"     // where the running server is to be found
	logFile     = "eventful.log" // what the server logged
	oldLogFile  = "eventful.log.1"
)

// Contents lists everything that EventfulDB itself puts into a data folder, except config.toml; `destroy` removes that and nothing else.
func Contents() []string {
	return []string{infoFile, pidFile, movedFile, storeDir, resolverDir, stateDir, indexDir, runnerDir, signedDir, logFile, oldLogFile, KeyFile, enteredFile, lockFile}
}

// StateDir is where the writer keeps its state of a log.
func StateDir(dir, log string) string { return filepath.Join(dir, stateDir, log) }

// IndexDir is where the projector keeps its index of a log.
func IndexDir(dir, log string) string { return filepath.Join(dir, indexDir, log) }

// InfoPath is the file that says where the running server is to be found.
func InfoPath(dir string) string { return filepath.Join(dir, infoFile) }

// Configured reports whether the folder has keys: the last thing that the first `config` makes.
func Configured(dir string) bool { return exists(filepath.Join(dir, KeyFile)) }

// Started reports whether a server has ever run on the folder; from then on its site is fixed.
func Started(dir string) bool { return exists(filepath.Join(dir, storeDir)) }

// LogPath is the file that a server on this data folder logs to.
func LogPath(dir string) string { return filepath.Join(dir, logFile) }

// StoreDir is where the logs lie.
func StoreDir(dir string) string { return filepath.Join(dir, storeDir) }

// AccountsDir is where the NATS server keeps its account JWTs.
func AccountsDir(dir string) string { return filepath.Join(dir, resolverDir) }
