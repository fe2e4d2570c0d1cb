//! A fleet that stands there, for a browser to be measured in front of it: `xenith-benches-fleet 1000 100 0`.
//!
//! The one line that says where it is has this form: `open URL as USER with PASSWORD`. It ends when its input does, so
//! that it never outlives who started it.

use std::io;

use anyhow::Result;

use crate::orchestrator::{Door, PASSWORD};

pub async fn still(door: Door) -> Result<()> {
    println!("open {} as bench0 with {PASSWORD}", door.url());
    // Not on the runtime, whose threads the agents need.
    let watching = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    watching.await??;
    Ok(())
}
