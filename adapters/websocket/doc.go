// Package traffikws limits the messages of WebSocket connections, one by one.
// It requires no WebSocket library: connections are matched by their methods.
//
// For coder/websocket and others whose reads take a context:
//
//	ws, err := websocket.Accept(w, r, nil)
//	conn := traffikws.Wrap(ws, traffikws.From(r), messages)
//	kind, data, err := conn.Read(ctx)
//
// For gorilla/websocket and others with ReadMessage:
//
//	ws, err := upgrader.Upgrade(w, r, nil)
//	conn := traffikws.WrapMessages(ws, traffikws.From(r), messages)
//	kind, data, err := conn.ReadMessage()
//
// Every inbound data message is one hit. What becomes of one over the limit is
// the [Mode]:
//
//   - [Notify], the default: it is dropped, the peer is told, the connection
//     lives on
//   - [Drop]: it is dropped, and nobody is told
//   - [Delay]: it is held until the limit admits it, up to a bound, in order
//   - [Close] and [CloseAfter]: the connection is ended with status 1008
//
// A notice is a text message:
//
//	{"type":"rate_limit","retry_after_ms":1500}
//
// There is no retry_after_ms when no waiting helps, because the message costs
// more than the limit ever admits, or when the store failed and the error policy
// denies. Of messages that one limit denies in a row only the first is answered, and then the
// first after the announced wait, and none within a second of the last notice
// ([NoticeInterval]), so that a flood is not echoed.
//
// Several limits are charged together by [traffik.All]: one for each connection
// ([ByConnection]), one for the user of the handshake, one for all
// ([traffik.Shared]). [WithLimitFunc] chooses by message, [CostBySize] charges
// by size, and [WithOutbound] limits what the application writes. Identities are
// found once for a connection, those that depend on the message ([MessageOf]) for
// each.
//
// Fragments and compression are the library's business, so a message counts once
// however it came; pings, pongs and closes are never counted.
//
// A message is read into memory whole, since its size may be its cost. One of more than
// 1 MiB after decompression ends the connection with status 1009, and reads return a
// [TooBigError]; [WithMaxMessageBytes] sets another bound.
//
// Below the wrappers stands [Meter], whose Allow serves any library.
//
// Attempts to connect are limited by the adapter of the HTTP framework.
package traffikws
