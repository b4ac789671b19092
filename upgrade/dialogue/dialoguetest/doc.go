// Package dialoguetest plays transcripts against a protocol: of its roles, of the filter
// by which a client is joined to a backend, and of the one in front of a backend that has
// been upgraded. The README beside this file has the format.
//
// A protocol's test is a call of Play, and the transcripts are in the folder testdata of
// its package:
//
//	func TestTranscripts(t *testing.T) { dialoguetest.Play(t, gopher.Protocol) }
//
// Nothing is listened on, and no time passes: what a minute brings about is tested with
// the clock of testing/synctest.
package dialoguetest
