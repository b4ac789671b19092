// Package dialogue is the kit that protocols are made of: what a Protocol is, the Session in
// which it plays its part of the plaintext phase, and the Filter by which a client is joined
// to a backend. Most protocols need a screen or two of it.
//
// A protocol of commands and replies joins its sides with a CommandFilter, to which it
// gives its grammar; the rules that keep a client from a backend which reads more
// leniently than we do are in there. Other protocols keep to the same rules:
//
//   - What is not understood is refused, not forwarded, for as long as a filter keeps
//     anything from either side.
//   - No more is pending than is bounded: commands without a reply, bytes that wait. At the
//     bound nothing is read, and nothing is dropped.
//   - What a backend grants to the proxy's address is never the client's.
//   - A filter leaves on the success of what ends the need for it, never on a failure.
//   - What is passed on is unchanged to the byte, and payload passes from where it lies.
//
// The package knows nothing of Caddy and does no I/O but through a Session.
//
// # Shapes
//
// Not all protocols look like SMTP. What each kind uses of the kit:
//
//   - IRC: the server sends NOTICEs before anything else. Request skips them, and keeps them
//     with Session.Keep for whoever reads from the upgraded server.
//   - RDP: Accept keeps the client's connection request without its negotiation. The filter
//     finds it in Situation.Kept, sends it to the backend first, and swallows the confirm.
//     Outwards, HearsClient: Request asks with the cookie of the client for whom it asks, and
//     leaves the client's own request to the filter.
//   - HTTP with Upgrade (RFC 2817): the request that asks is answered inside TLS. OPTIONS * is
//     answered with Session.AnswerInside; another one Accept keeps, and Protocol.AnsweredInside
//     has the backend read it first. Outwards, Protocol.Settle hears the answer.
//   - HTTP CONNECT: Protocol.Tunnel, since what is inside TLS is another protocol.
//   - NBD and VNC: Accept keeps the client's flags, or its choice of a subtype.
//   - MySQL: EarlyDial, since the greeting has the backend's challenge. The filter passes it
//     on with TLS offered, asks for the upgrade with Exchange.Upgrade at the client's
//     SSLRequest, and renumbers packets until the login is over. Situation.Cleartext says
//     whether a client may log in without. The filter has an ErrorReply of its own, which
//     knows the sequence number. Outwards, HearsClient: Request greets the client for whom it
//     asks in the server's words, and makes the request of what that answers. Behind both,
//     Exchange.BackendUpgraded says that the password may stay as it is.
//   - TDS: EarlyDial; the filter makes the go-ahead for Exchange.Upgrade of the backend's
//     answer. Protocol.HandshakePackets has the core carry the handshake in packets.
//   - FTP: a CommandFilter that never leaves. Its data connections are made by a service of the
//     core's, a DataService, which has the listener, the TLS configurations and the dialler.
package dialogue
