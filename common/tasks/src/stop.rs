//! Ctrl-C and SIGTERM: somebody asks the process to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Neither ends the process by itself once there is one of these.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Inside a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits until it is asked to stop; again, until it is asked once more. Safe to cancel.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
