//! The client against a server with canned answers.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod calls;
mod server;
mod subscriptions;
mod trust;
