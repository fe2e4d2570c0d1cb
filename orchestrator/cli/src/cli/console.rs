//! Consoles.

use std::net::SocketAddr;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ConsoleCommand {
    /// Open a VM's serial console in this terminal; Ctrl-] leaves it. With --vnc, pass its screen on.
    Vm {
        #[arg(value_name = "VM")]
        vm: String,
        /// Leave out what was written before.
        #[arg(long, conflicts_with = "vnc")]
        no_history: bool,
        /// Listen on this address for a VNC viewer and pass it the screen, until Ctrl-C. Port 0 is any.
        #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:0")]
        vnc: Option<SocketAddr>,
        /// Open nothing; print the ticket for a WebSocket (with --vnc: of the screen).
        #[arg(long)]
        ticket: bool,
    },
    /// Open a shell of a host in this terminal; Ctrl-] leaves it.
    Host {
        #[arg(value_name = "HOST")]
        host: String,
        /// Open nothing; print the ticket for a WebSocket.
        #[arg(long)]
        ticket: bool,
    },
}
