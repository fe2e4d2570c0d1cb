//! Logs: to standard error, for people on a terminal, as JSON where `XENITH_LOG_FORMAT=json`.
//!
//! `XENITH_LOG` filters (the syntax of `tracing`'s `EnvFilter`); the default is `info`. Standard output
//! belongs to a program's results and never gets a log line.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging for this process. Call once, first thing in `main`.
pub fn init() {
    let filter = EnvFilter::try_from_env("XENITH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call (tests) keeps the first subscriber: nothing to do about it, nothing lost.
    let _already_set = if std::env::var("XENITH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
    };
}
