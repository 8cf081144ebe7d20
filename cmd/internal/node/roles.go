package node

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// RoleUser makes a user of a site's account with the rights of some roles together, and no others. Expires: when it ends; the zero time: never.
func RoleUser(site string, secrets *keyring.Secrets, account keyring.Account, name string, expires time.Time, roles ...streams.Role) (userJWT string, seed []byte, err error) {
	p, err := streams.RolePermissions(installation(site, secrets), string(account), roles...)
	if err != nil {
		return "", nil, fmt.Errorf("make user %s: %w", name, err)
	}
	return secrets.RightsUser(account, name, rights(p), expires)
}

// makerTime is how long a user lives that makes a stream.
const makerTime = time.Minute

// MakerUser makes a user that may make one stream of an account, within a minute, and do nothing else.
func MakerUser(site string, secrets *keyring.Secrets, account keyring.Account, stream string) (userJWT string, seed []byte, err error) {
	in := installation(site, secrets)
	in.Stream = stream
	p, err := streams.RolePermissions(in, string(account), streams.RoleMaker)
	if err != nil {
		return "", nil, fmt.Errorf("make a user that makes stream %.80q: %w", stream, err)
	}
	return secrets.RightsUser(account, string(streams.RoleMaker), rights(p), time.Now().Add(makerTime))
}

func installation(site string, secrets *keyring.Secrets) streams.Installation {
	return streams.Installation{Site: site, LOG: secrets.Accounts[keyring.LOG].ID, APP: secrets.Accounts[keyring.APP].ID}
}

func rights(p streams.Permissions) keyring.Rights {
	return keyring.Rights{Publish: subjects(p.Publish), Deny: subjects(p.Deny), Subscribe: subjects(p.Subscribe)}
}

func subjects(of []streams.Permission) (all []string) {
	for _, p := range of {
		all = append(all, p.Subject)
	}
	return all
}

// Credentials are what a connection of a user needs: JWT and seed, and its own inboxes.
func Credentials(userJWT string, seed []byte) ([]nats.Option, error) {
	inbox, err := OwnInboxes(userJWT)
	return []nats.Option{nats.UserJWTAndSeed(userJWT, string(seed)), inbox}, err
}

// OwnInboxes makes a connection use the inboxes that its user may subscribe to.
func OwnInboxes(userJWT string) (nats.Option, error) {
	claims, err := jwt.DecodeUserClaims(userJWT)
	if err != nil {
		return nil, fmt.Errorf("read a user: %w", err)
	}
	return nats.CustomInboxPrefix(streams.TokenInboxPrefix(claims.Subject, claims.Tags)), nil
}

// ConnAs connects an engine in this process to an account with the rights of its roles. The caller closes the connection before Shutdown.
//
// A connection of several roles in APP has all rights there. It answers every request on a subject of its own, and looking up a permission for each would cost more than
// the routing itself (docs/design.md); in the process that runs the server and holds its keys it would protect nothing.
func (n *Node) ConnAs(account keyring.Account, roles []streams.Role, extra ...nats.Option) (*nats.Conn, error) {
	if account == keyring.APP && len(roles) > 1 {
		return n.Conn(account, extra...)
	}
	userJWT, seed, err := RoleUser(n.config.Keyring.Site(), n.config.Secrets, account, "engine", time.Time{}, roles...)
	if err != nil {
		return nil, err
	}
	return n.connect(account, "engine", userJWT, seed, extra)
}

// ConnMaker connects to an account with the right to make one stream, and no other, for a minute.
func (n *Node) ConnMaker(account keyring.Account, stream string, extra ...nats.Option) (*nats.Conn, error) {
	userJWT, seed, err := MakerUser(n.config.Keyring.Site(), n.config.Secrets, account, stream)
	if err != nil {
		return nil, err
	}
	return n.connect(account, string(streams.RoleMaker), userJWT, seed, extra)
}

func (n *Node) connect(account keyring.Account, name, userJWT string, seed []byte, extra []nats.Option) (*nats.Conn, error) {
	options, err := Credentials(userJWT, seed)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(n.ClientURL(), append(append(options, nats.Name(name), nats.InProcessServer(n)), extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to account %s: %w", account, err)
	}
	return nc, nil
}
