package spaces

import (
	"fmt"
	"strconv"
)

// Secrets: documents hold the number of a row of the table secret, never a value.
// A row is written once and kept as long as the space, since snapshots of releases
// point to it.

func secretPurpose(id SecretID) string { return "secret/" + strconv.FormatInt(int64(id), 10) }

// putSecret seals a value into a new row.
func (tx *Tx) putSecret(value string) (SecretID, error) {
	n, err := tx.insert(`INSERT INTO secret (sealed, created_at) VALUES (x'', ?)`, formatTime(tx.Now))
	if err != nil {
		return 0, err
	}
	// The row's number is part of what is sealed, so it is known only now.
	sealed, err := tx.seal([]byte(value), secretPurpose(SecretID(n)))
	if err != nil {
		return 0, err
	}
	return SecretID(n), tx.update(`UPDATE secret SET sealed = ? WHERE id = ?`, sealed, n)
}

// secret opens a value. It is for deployments and promotions, never for a page.
func (tx *ReadTx) secret(id SecretID) (string, error) {
	sealed, err := one[[]byte](tx, `SELECT sealed FROM secret WHERE id = ?`, int64(id))
	if err != nil {
		return "", fmt.Errorf("read secret %d: %w", id, err)
	}
	if len(sealed) == 0 {
		return "", lostValue(fmt.Sprintf("number %d", id), "its project")
	}
	plain, err := tx.unseal(sealed, secretPurpose(id))
	return string(plain), err
}

// Identity returns the space's signing and sealing keys as zones stored them, and
// nil when it has none yet.
func (tx *ReadTx) Identity() ([]byte, error) {
	sealed, err := one[[]byte](tx, `SELECT identity FROM space_meta WHERE id = 1`)
	if err != nil || sealed == nil {
		return nil, err
	}
	return tx.unseal(sealed, "identity")
}

// SetIdentity stores the space's keys, sealed. It is done once in a space's life.
func (tx *Tx) SetIdentity(private []byte) error {
	sealed, err := tx.seal(private, "identity")
	if err != nil {
		return err
	}
	return tx.update(`UPDATE space_meta SET identity = ? WHERE id = 1 AND identity IS NULL`, sealed)
}

// Incarnation is the random id of this life of the space; a restored copy has
// another.
func (tx *ReadTx) Incarnation() (string, error) {
	return one[string](tx, `SELECT incarnation FROM space_meta WHERE id = 1`)
}

// Card is the newest card of this space and its number; nil and 0 before the first.
func (tx *ReadTx) Card() (card []byte, number int64, err error) {
	err = tx.queryRow(`SELECT card, card_number FROM space_meta WHERE id = 1`).Scan(&card, &number)
	return card, number, err
}

// SetCard stores a card that this space issued.
func (tx *Tx) SetCard(card []byte, number int64) error {
	return tx.update(`UPDATE space_meta SET card = ?, card_number = ? WHERE id = 1`, card, number)
}

// Salt makes 32 bytes that hide a secret of a release in its commitment: always the
// same for the same secret, whatever key the space has now, and known to nobody without
// the first key of the space.
func (tx *ReadTx) Salt(releaseULID, key string) []byte {
	return tx.Space.ring.Load().first.Derive("commitment/" + tx.Space.ulid + "/" + releaseULID + "/" + key)
}
