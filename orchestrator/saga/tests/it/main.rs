//! The engine's tests: the state machine case by case, the harnesses on a good saga and on bad ones.
#![allow(clippy::unwrap_used, reason = "tests say by panicking what went wrong")]

mod engine;
mod harness;
mod world;
