//! The store of metrics from outside, over the store in memory and on disk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod crash;
mod life;
mod model;
mod support;
