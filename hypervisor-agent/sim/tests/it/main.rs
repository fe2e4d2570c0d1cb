//! The simulator as its users see it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod conformance;
mod controls;
mod faults;
mod fixture;
mod footprint;
mod guests;
mod model;
mod storm;
