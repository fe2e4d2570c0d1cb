//! The inventory against a plain list of rows: whatever is asked, both must give the same answer.
#![allow(clippy::unwrap_used, reason = "tests say by panicking what went wrong")]

mod filter;
mod listing;
mod model;
mod pages;
mod scope;
mod watch;
