package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"octopuses.dev/octopuses/spaces/errs"
)

// receiptsFile is the first line of a file .octr.
type receiptsFile struct {
	Format string `json:"format"`
	From   string `json:"from"`
	To     string `json:"to"`
	Count  int    `json:"count"`
}

const receiptsFormat = "octopuses-receipts/1"

// place is where a message stands; a file is sorted by it.
type place struct {
	incarnation string
	seq         int64
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.incarnation, o.incarnation), cmp.Compare(p.seq, o.seq))
}

// WriteReceipts writes a file .octr: a line that says what it is, then one envelope a
// line, in the order of their places. An envelope that is given twice is written once.
func WriteReceipts(w io.Writer, from, to string, envelopes [][]byte) error {
	type line struct {
		place
		envelope []byte
	}
	lines := make([]line, 0, len(envelopes))
	for _, e := range envelopes {
		h, err := claimed(e)
		if err != nil {
			return err
		}
		if h.From != from || h.To != to {
			return fmt.Errorf("write receipts: one is from %s for %s", h.From, h.To)
		}
		lines = append(lines, line{place{h.Incarnation, h.Seq}, e})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.compare(b.place) })
	lines = slices.CompactFunc(lines, func(a, b line) bool { return bytes.Equal(a.envelope, b.envelope) })
	if len(lines) > MaxReceipts {
		return tooMany("receipts in a file", MaxReceipts)
	}
	head, err := json.Marshal(receiptsFile{receiptsFormat, from, to, len(lines)})
	if err != nil {
		return fmt.Errorf("write receipts: %w", err)
	}
	out := bufio.NewWriter(w)
	out.Write(append(head, '\n'))
	for _, l := range lines {
		out.Write(l.envelope)
		out.WriteByte('\n')
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write receipts: %w", err)
	}
	return nil
}

// ReadReceipts reads a file .octr into its envelopes, none of which is verified yet: that
// is for [VerifyReceipt]. The first line is under nobody's signature; it is only compared
// with what the envelopes say.
func ReadReceipts(r io.Reader) (from, to string, envelopes [][]byte, err error) {
	in := bufio.NewReaderSize(r, MaxReceipt+2)
	cut := func() error {
		return refuse("The file of receipts is cut off.").WithHint("Copy it again.")
	}
	first, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return "", "", nil, err
	}
	var head receiptsFile
	if err != nil || exact(first[:len(first)-1], "file of receipts", &head) != nil || head.Format != receiptsFormat || !isULID(head.From) || !isULID(head.To) || head.Count < 0 {
		return "", "", nil, refuse("This is no file of receipts, or it was changed.").WithHint("Files of receipts end in .octr.")
	}
	if head.Count > MaxReceipts {
		return "", "", nil, tooMany("receipts in the file", MaxReceipts)
	}
	var last place
	for range head.Count {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return "", "", nil, cut()
		case errors.Is(err, bufio.ErrBufferFull):
			return "", "", nil, errs.New(errs.TooLarge, "A receipt is larger than %d bytes.", MaxReceipt)
		case err != nil:
			return "", "", nil, err
		}
		e := bytes.Clone(line[:len(line)-1])
		h, err := claimed(e)
		if err != nil {
			return "", "", nil, err
		}
		at := place{h.Incarnation, h.Seq}
		if h.From != head.From || h.To != head.To || len(envelopes) > 0 && at.compare(last) < 0 || len(envelopes) > 0 && bytes.Equal(e, envelopes[len(envelopes)-1]) {
			return "", "", nil, notCanonical("file of receipts")
		}
		last = at
		envelopes = append(envelopes, e)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		if err != nil {
			return "", "", nil, err
		}
		return "", "", nil, refuse("The file holds more than the %d receipts that it announces.", head.Count)
	}
	return head.From, head.To, envelopes, nil
}
