package bundle

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed words.txt
var wordText string

// words is BIP-39's English list, 2,048 words in their order
// (github.com/bitcoin/bips, bip-0039/english.txt; CRC-32 c1dbd296). It is a file of ours
// and split on first use, since the library that has it makes the lists of nine languages
// at each start of the program, and each piece of work on a target is such a start.
var words = sync.OnceValue(func() []string { return strings.Fields(wordText) })
