// Package deflate takes deflate streams (RFC 1951) apart into their content and the few
// choices of the compressor that cannot be predicted, and puts them together again bit
// by bit.
//
// A deflate stream is its content and a sequence of choices: where blocks end, which
// Huffman codes they use, and for each place a literal or a match (length, distance). The
// compressors of zlib's family (zlib itself, GNU gzip, Info-ZIP, the one of Chromium and
// Node, Go's) all search hash chains in the manner of zlib's deflate.c; they differ in
// limits, in the hash and in what counts as too far. [Model] names these, [Parse] finds
// the model that fits, and what it does not predict is a correction. So no version of
// another program has to be repeated exactly: a stream that is almost predicted costs a
// little more, and one that is not predicted costs too much and is left as it is. The
// idea is that of preflate (github.com/deus-libri/preflate).
//
// What a model predicts is part of the recipe's format: a change here makes recipes of
// another server wrong, and needs another number of the format. The digest of the file
// that is rebuilt tells.
package deflate
