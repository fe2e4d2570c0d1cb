//! Against a real xenstored, started per test, and against a daemon of our own that breaks the protocol.
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not their helpers")]

mod fake_daemon;
mod guest;
mod harness;
mod nodes;
mod reconnect;
mod traits;
mod transactions;
mod watches;
mod wire;
