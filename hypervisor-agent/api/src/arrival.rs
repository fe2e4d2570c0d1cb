//! Commands that move a running VM to another host, in domain types.

use std::fmt;
use std::time::Duration;

use xenith_common_ids::{IncarnationId, VdiId, VmId};

use crate::convert::{asked, id, required, under};
use crate::wire::arrival_command::What;
use crate::{VmAction, WireError, wire};

/// Of the host that a VM goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalCommand {
    /// Takes the memory of a VM that is defined here from whoever shows the ticket. Answers with the port. A later
    /// ticket for the same VM ends the earlier one.
    Open { vm: VmId, incarnation: IncarnationId, ticket_hash: String, idle: Duration },
    /// Ends the ticket, and who sends with it; returns when nothing comes in any more.
    Close { vm: VmId },
}

/// Where a VM's memory is sent. `Debug` does not show the ticket: commands are logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SendVm {
    /// `host:port`.
    pub address: String,
    /// The name in the receiver's certificate.
    pub server_name: String,
    pub authority_pem: String,
    pub ticket: String,
    /// Disks that have another id there, with the same contents before the VM is let run.
    pub exchanged: Vec<Exchanged>,
}

/// A VDI that takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchanged {
    pub from: VdiId,
    pub to: VdiId,
}

impl From<&Exchanged> for wire::ExchangedVdi {
    fn from(exchanged: &Exchanged) -> Self {
        Self { from_id: exchanged.from.to_string(), to_id: exchanged.to.to_string() }
    }
}

impl TryFrom<wire::ExchangedVdi> for Exchanged {
    type Error = WireError;

    fn try_from(exchanged: wire::ExchangedVdi) -> Result<Self, WireError> {
        Ok(Self { from: id("from_id", &exchanged.from_id)?, to: id("to_id", &exchanged.to_id)? })
    }
}

impl fmt::Debug for SendVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendVm(to {})", self.address)
    }
}

pub(crate) fn send_to_wire(vm_id: String, send: &SendVm) -> wire::SendVm {
    wire::SendVm {
        vm_id,
        address: send.address.clone(),
        server_name: send.server_name.clone(),
        authority_pem: send.authority_pem.clone(),
        ticket: send.ticket.clone(),
        exchanged: send.exchanged.iter().map(Into::into).collect(),
    }
}

pub(crate) fn send_from_wire(send: wire::SendVm) -> Result<(VmId, VmAction), WireError> {
    let vm = id("vm_id", &send.vm_id)?;
    let exchanged = send.exchanged.into_iter().map(Exchanged::try_from).collect::<Result<_, _>>();
    let exchanged = under("exchanged", exchanged)?;
    let wire::SendVm { address, server_name, authority_pem, ticket, .. } = send;
    Ok((vm, VmAction::Send(Box::new(SendVm { address, server_name, authority_pem, ticket, exchanged }))))
}

impl From<&ArrivalCommand> for wire::ArrivalCommand {
    fn from(command: &ArrivalCommand) -> Self {
        let what = match command {
            ArrivalCommand::Open { vm, incarnation, ticket_hash, idle } => What::Open(wire::OpenArrival {
                vm_id: vm.to_string(),
                incarnation_id: incarnation.to_string(),
                ticket_hash: ticket_hash.clone(),
                idle_s: u32::try_from(idle.as_secs()).unwrap_or(u32::MAX),
            }),
            ArrivalCommand::Close { vm } => What::Close(vm.to_string()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<wire::ArrivalCommand> for ArrivalCommand {
    type Error = WireError;

    fn try_from(command: wire::ArrivalCommand) -> Result<Self, WireError> {
        Ok(match asked("what", "command", command.what)? {
            What::Open(open) => under("open", Self::opened(open))?,
            What::Close(vm) => Self::Close { vm: id("close", &vm)? },
        })
    }
}

impl ArrivalCommand {
    fn opened(open: wire::OpenArrival) -> Result<Self, WireError> {
        let ticket_hash = required("ticket_hash", Some(open.ticket_hash).filter(|hash| !hash.is_empty()))?;
        Ok(Self::Open {
            vm: id("vm_id", &open.vm_id)?,
            incarnation: id("incarnation_id", &open.incarnation_id)?,
            ticket_hash,
            idle: Duration::from_secs(open.idle_s.into()),
        })
    }
}
