package bundle

import (
	"hash/crc32"
	"slices"
	"testing"
)

// Two people compare words that two programs show: the list is the one that all have.
func TestWordsAreBIP39(t *testing.T) {
	t.Parallel()
	if sum := crc32.ChecksumIEEE([]byte(wordText)); sum != 0xc1dbd296 || len(words()) != 2048 || !slices.IsSorted(words()) {
		t.Errorf("CRC-32 %x, %d words", sum, len(words()))
	}
}
