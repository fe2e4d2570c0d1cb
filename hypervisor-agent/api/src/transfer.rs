//! Commands that move the contents of VDIs: to who has a ticket, to another host, from SR to SR. In domain types.

use std::fmt;
use std::time::Duration;

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::VdiSize;

use crate::convert::{asked, id, required, under};
use crate::wire::transfer_command::What;
use crate::{WireError, wire};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferCommand {
    /// Lets whoever shows the ticket read a snapshot, or a VDI that no VM has open. Answers with the port.
    OpenDownload {
        vdi: VdiId,
        ticket_hash: String,
        idle: Duration,
    },
    CloseDownload {
        vdi: VdiId,
    },
    /// Sends a VDI's contents to an upload that another host has opened. Takes as long as it takes.
    Send(SendVdi),
    /// Makes a VDI with the contents of another, in whichever SRs of this host they are.
    Copy {
        from: VdiId,
        to: VdiId,
        sr: SrId,
        size: VdiSize,
        /// Bytes a second; 0: as fast as it goes.
        bandwidth: u64,
    },
    /// Brings the VDI `to`, which has the contents of `base`, to those of `from`, in whichever SRs of this host they are:
    /// two snapshots of one VDI. Answers with how much that was.
    Patch {
        from: VdiId,
        base: VdiId,
        to: VdiId,
        bandwidth: u64,
    },
    /// The same to a VDI of another host, which has opened an upload.
    SendChanges {
        send: SendVdi,
        base: VdiId,
    },
}

/// `Debug` does not show the ticket: commands are logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SendVdi {
    pub vdi: VdiId,
    /// The id that the contents have there.
    pub to: VdiId,
    /// `host:port`.
    pub address: String,
    /// The name in the receiver's certificate.
    pub server_name: String,
    pub authority_pem: String,
    pub ticket: String,
    /// Bytes a second; 0: as fast as it goes.
    pub bandwidth: u64,
}

impl fmt::Debug for SendVdi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendVdi({} to {} as {})", self.vdi, self.address, self.to)
    }
}

impl From<&TransferCommand> for wire::TransferCommand {
    fn from(command: &TransferCommand) -> Self {
        let what = match command {
            TransferCommand::OpenDownload { vdi, ticket_hash, idle } => {
                What::OpenDownload(wire::OpenDownload {
                    vdi_id: vdi.to_string(),
                    ticket_hash: ticket_hash.clone(),
                    idle_s: u32::try_from(idle.as_secs()).unwrap_or(u32::MAX),
                })
            }
            TransferCommand::CloseDownload { vdi } => What::CloseDownload(vdi.to_string()),
            TransferCommand::Send(send) => What::Send(send.into()),
            TransferCommand::Copy { from, to, sr, size, bandwidth } => What::Copy(wire::CopyVdi {
                from_id: from.to_string(),
                to_id: to.to_string(),
                sr_id: sr.to_string(),
                size: size.bytes(),
                bandwidth: *bandwidth,
            }),
            TransferCommand::Patch { from, base, to, bandwidth } => What::Patch(wire::PatchVdi {
                from_id: from.to_string(),
                base_id: base.to_string(),
                to_id: to.to_string(),
                bandwidth: *bandwidth,
            }),
            TransferCommand::SendChanges { send, base } => {
                What::SendChanges(wire::SendChanges { send: Some(send.into()), base_id: base.to_string() })
            }
        };
        Self { what: Some(what) }
    }
}

impl From<&SendVdi> for wire::SendVdi {
    fn from(send: &SendVdi) -> Self {
        Self {
            vdi_id: send.vdi.to_string(),
            to_id: send.to.to_string(),
            address: send.address.clone(),
            server_name: send.server_name.clone(),
            authority_pem: send.authority_pem.clone(),
            ticket: send.ticket.clone(),
            bandwidth: send.bandwidth,
        }
    }
}

impl TryFrom<wire::TransferCommand> for TransferCommand {
    type Error = WireError;

    fn try_from(command: wire::TransferCommand) -> Result<Self, WireError> {
        Ok(match asked("what", "command", command.what)? {
            What::OpenDownload(open) => Self::OpenDownload {
                vdi: id("open_download.vdi_id", &open.vdi_id)?,
                ticket_hash: open.ticket_hash,
                idle: Duration::from_secs(open.idle_s.into()),
            },
            What::CloseDownload(vdi) => Self::CloseDownload { vdi: id("close_download", &vdi)? },
            What::Send(send) => Self::Send(under("send", send.try_into())?),
            What::Copy(copy) => under("copy", parse_copy(&copy))?,
            What::Patch(patch) => under("patch", parse_patch(&patch))?,
            What::SendChanges(changes) => {
                let base = id("send_changes.base_id", &changes.base_id)?;
                let send = required("send_changes.send", changes.send)?;
                Self::SendChanges { send: under("send_changes.send", send.try_into())?, base }
            }
        })
    }
}

fn parse_copy(copy: &wire::CopyVdi) -> Result<TransferCommand, WireError> {
    Ok(TransferCommand::Copy {
        from: id("from_id", &copy.from_id)?,
        to: id("to_id", &copy.to_id)?,
        sr: id("sr_id", &copy.sr_id)?,
        size: VdiSize::from_bytes(copy.size).map_err(|error| WireError::new("size", error))?,
        bandwidth: copy.bandwidth,
    })
}

fn parse_patch(patch: &wire::PatchVdi) -> Result<TransferCommand, WireError> {
    Ok(TransferCommand::Patch {
        from: id("from_id", &patch.from_id)?,
        base: id("base_id", &patch.base_id)?,
        to: id("to_id", &patch.to_id)?,
        bandwidth: patch.bandwidth,
    })
}

impl TryFrom<wire::SendVdi> for SendVdi {
    type Error = WireError;

    fn try_from(send: wire::SendVdi) -> Result<Self, WireError> {
        Ok(Self {
            vdi: id("vdi_id", &send.vdi_id)?,
            to: id("to_id", &send.to_id)?,
            address: send.address,
            server_name: send.server_name,
            authority_pem: send.authority_pem,
            ticket: send.ticket,
            bandwidth: send.bandwidth,
        })
    }
}
