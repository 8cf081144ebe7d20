package streams

// Questions to nats-servers, which the account SYS answers (docs/adr/0013-questions.md).
const (
	// AskServers asks every server of its JetStream: JSZ.
	AskServers = "$SYS.REQ.SERVER.PING.JSZ"
	// UpdateAccount puts the JWT of an account into force.
	UpdateAccount = "$SYS.REQ.CLAIMS.UPDATE"
)

// LookUpAccount asks for the JWT of an account, by its public id, as it is.
func LookUpAccount(id string) string { return "$SYS.REQ.ACCOUNT." + id + ".CLAIMS.LOOKUP" }

// Connects is where servers tell of each connection in an account, by its public id.
func Connects(id string) string { return "$SYS.ACCOUNT." + id + ".CONNECT" }

// Question is a subject that SYS exports and another account imports.
type Question struct {
	Account string // that imports it
	Subject string
	Told    bool // the servers tell it by themselves; else they are asked
	Many    bool // every server answers; else the first
}

// Questions are all that SYS exports. Answers come back into the account that asked, and who asks may aim them at whatever that reaches; in SYS that would be the removal of every stream.
// So nobody asks there, and what may be answered with nothing is not asked in LOG: an empty message to the JetStream API deletes a stream.
func (s Installation) Questions() []Question {
	return []Question{
		{Account: AccountLOG, Subject: AskServers, Many: true},
		{Account: AccountLOG, Subject: Connects(s.LOG), Told: true},
		{Account: AccountAPP, Subject: LookUpAccount(s.APP)},
		{Account: AccountAPP, Subject: UpdateAccount},
	}
}
