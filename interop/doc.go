// Package interop holds tests that put real clients in front of the plugin and
// real servers behind it. A protocol that agrees with its RFC and with our own
// transcripts can still disagree with Postfix or with gnutls-cli; here it cannot.
//
// Everything runs on loopback, from temporary directories. See README.md for the
// programs that the tests want.
package interop
