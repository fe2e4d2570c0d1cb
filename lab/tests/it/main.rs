//! Tests that boot a real Xen. `cargo nextest run -p xenith-lab --features lab`
//!
//! One host for all steps: its boot is what costs. Numbers are printed; only outcomes are asserted, since
//! emulation is as fast as the machine is idle.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod host;
