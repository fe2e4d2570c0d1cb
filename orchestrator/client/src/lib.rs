//! A client of the orchestrator's API: typed calls and subscriptions over one WebSocket.
//!
//! What always holds:
//! * The server's certificate is trusted only by a pin that a person compared ([`Trust::Pinned`]) or by the
//!   system's authorities ([`Trust::System`]). Nothing is sent, credentials least of all, before that.
//! * A mutation carries an idempotency key, made here when none is given. When the connection breaks before the
//!   answer, the same call goes out again with the same key, so it takes effect once.
//! * A subscription survives its connection: it tells [`Update::Interrupted`], then [`Update::Continued`] where it
//!   goes on from what it has told, or [`Update::Resumed`] where it begins anew.
//!
//! Calls use the WebSocket too, not HTTP: who waits for a task needs the socket anyway, and one transport has one
//! set of faults. jsonrpsee's client does the protocol over a TLS stream that we open. Its own TLS was not taken
//! because it brings ring and a platform verifier that knows no pins; a client over hyper and tungstenite was not
//! written because matching answers and subscriptions is what jsonrpsee already does.
//!
//! A crash of the caller leaves nothing behind here; a task that was started runs on.

mod call;
mod connection;
mod console;
mod endpoint;
mod error;
mod probe;
mod subscription;
mod trust;

pub use call::{CallOptions, Client, Credential, Repeat};
pub use console::{Console, ConsoleReader, ConsoleWriter};
pub use endpoint::Endpoint;
pub use error::ClientError;
pub use probe::{Pin, Presented, probe};
pub use subscription::{
    EventChanges, HostChanges, NounChanges, Subscription, TaskChanges, Update, VdiChanges, VmChanges, Watch,
};
pub use trust::Trust;
