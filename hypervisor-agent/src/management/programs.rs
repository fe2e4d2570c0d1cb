//! The programs that change the network of a host. A test writes down what would run.

use std::io;
use std::process::{Command, Stdio};

pub trait Programs: Send + Sync + 'static {
    /// Blocks until it is done. What it says is in the error.
    fn run(&self, call: &[&str]) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct HostPrograms;

impl Programs for HostPrograms {
    fn run(&self, call: &[&str]) -> io::Result<()> {
        let (program, arguments) = call.split_first().expect("a call names its program");
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {}", call.join(" "), said.trim())))
    }
}
