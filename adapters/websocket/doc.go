// Package traffikws limits the messages of WebSocket connections, one by one. It requires no
// particular WebSocket library: it recognizes connections by their methods.
//
// With coder/websocket and other libraries whose reads take a context:
//
//	ws, err := websocket.Accept(w, r, nil)
//	conn := traffikws.Wrap(ws, traffikws.From(r), messages)
//	kind, data, err := conn.Read(ctx)
//
// With gorilla/websocket and other libraries that have ReadMessage:
//
//	ws, err := upgrader.Upgrade(w, r, nil)
//	conn := traffikws.WrapMessages(ws, traffikws.From(r), messages)
//	kind, data, err := conn.ReadMessage()
//
// Every inbound data message is one hit. The [Mode] decides what happens to a message over the
// limit:
//
//   - [Notify], the default: it is dropped, the peer is told, and the connection continues
//   - [Drop]: it is dropped, and nobody is told
//   - [Delay]: it is held until the limit admits it, in order and up to a bound
//   - [Close] and [CloseAfter]: the connection is closed with status 1008
//
// A notice is a text message:
//
//	{"type":"rate_limit","retry_after_ms":1500}
//
// It has no retry_after_ms if waiting doesn't help, because the message costs more than the limit
// ever admits, or if the store failed and the error policy denies. A burst is a run of denials by
// one limit with nothing admitted in between. The peer gets a notice for the first denial of a
// burst, and another for the first denial after the announced wait. No two notices come within a
// second ([NoticeInterval]), so that a flood gets no echo.
//
// Join limits with [traffik.All] to charge them together: one per connection ([ByConnection]), one
// for the user of the handshake, one for all connections ([traffik.Shared]). [WithLimitFunc] chooses
// by message, [CostBySize] charges by size, and [WithOutbound] limits what the application writes.
// Identities are looked up once per connection, and those that depend on the message ([MessageOf])
// once per message.
//
// The library handles fragments and compression, so each message counts once, however it is
// sent. Pings, pongs and closes are never counted.
//
// A message is read into memory whole, since its size may be its cost. A message of more than 1 MiB
// after decompression ends the connection with status 1009, and reads return a [TooBigError];
// [WithMaxMessageBytes] sets another bound.
//
// With any other library, call [Meter.Allow] for each message. To limit attempts to connect,
// use the adapter of your HTTP framework.
package traffikws
