//! The installer against the programs that it calls, where that needs no machine of its own: on files.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod table;
