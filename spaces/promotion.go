package spaces

// OpenPromotions counts the promotions that are not delivered yet and the messages
// that wait in the outbox.
func (tx *ReadTx) OpenPromotions() (int, error) {
	return one[int](tx, `SELECT (SELECT count(*) FROM promotion WHERE state IN ('preparing', 'queued', 'sending')) + (SELECT count(*) FROM zone_outbox WHERE state = 'queued')`)
}
