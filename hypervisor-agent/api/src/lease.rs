//! Leases of VDIs on the wire.

use xenith_common_ids::HostId;
use xenith_hypervisor_agent_types::{LeasedTo, VdiLease};

use crate::convert::{id, under};
use crate::{StorageCommand, WireError, wire};

/// What was found of the lease of a VDI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFound {
    /// `None`: nobody has it.
    pub lease: Option<VdiLease>,
    /// It is gone.
    pub broken: bool,
}

pub(crate) fn parse_break(lease: &wire::BreakLease) -> Result<StorageCommand, WireError> {
    let host = |(index, text): (usize, &String)| id::<HostId>(&format!("host_ids[{index}]"), text);
    Ok(StorageCommand::BreakLease {
        vdi: id("vdi_id", &lease.vdi_id)?,
        sr: id("sr_id", &lease.sr_id)?,
        of: lease.host_ids.iter().enumerate().map(host).collect::<Result<_, _>>()?,
    })
}

impl From<&LeaseFound> for wire::LeaseFound {
    fn from(found: &LeaseFound) -> Self {
        Self { lease: found.lease.as_ref().map(Into::into), broken: found.broken }
    }
}

impl TryFrom<wire::LeaseFound> for LeaseFound {
    type Error = WireError;

    fn try_from(found: wire::LeaseFound) -> Result<Self, WireError> {
        let lease = found.lease.map(|lease| under("lease", lease.try_into())).transpose()?;
        Ok(Self { lease, broken: found.broken })
    }
}

impl From<&VdiLease> for wire::VdiLease {
    fn from(lease: &VdiLease) -> Self {
        Self {
            host_id: lease.host.to_string(),
            host_name: lease.host_name.clone(),
            vm: lease.vm.as_ref().map(|to| wire::LeasedTo {
                vm_id: to.vm.to_string(),
                name: to.name.clone(),
                incarnation_id: to.run.to_string(),
                sent: to.sent,
            }),
        }
    }
}

impl TryFrom<wire::VdiLease> for VdiLease {
    type Error = WireError;

    fn try_from(lease: wire::VdiLease) -> Result<Self, WireError> {
        let vm = lease.vm.map(|to| -> Result<LeasedTo, WireError> {
            Ok(LeasedTo {
                vm: id("vm_id", &to.vm_id)?,
                name: to.name,
                run: id("incarnation_id", &to.incarnation_id)?,
                sent: to.sent,
            })
        });
        Ok(Self {
            host: id("host_id", &lease.host_id)?,
            host_name: lease.host_name,
            vm: vm.map(|to| under("vm", to)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::{IncarnationId, SrId, VdiId, VmId};

    use super::*;
    use crate::wire::execute_request::Command as Wire;

    #[test]
    fn a_lease_is_what_it_was() {
        let to =
            LeasedTo { vm: VmId::new(), name: "web-1".to_owned(), run: IncarnationId::new(), sent: true };
        let (host, host_name) = (HostId::new(), "xen1".to_owned());
        for found in [
            LeaseFound { lease: None, broken: false },
            LeaseFound {
                lease: Some(VdiLease { host, host_name: host_name.clone(), vm: None }),
                broken: true,
            },
            LeaseFound { lease: Some(VdiLease { host, host_name, vm: Some(to) }), broken: false },
        ] {
            assert_eq!(LeaseFound::try_from(wire::LeaseFound::from(&found)).unwrap(), found);
        }
        let odd = wire::VdiLease { host_id: "xen1".to_owned(), ..Default::default() };
        let found = wire::LeaseFound { lease: Some(odd), broken: false };
        assert_eq!(LeaseFound::try_from(found).unwrap_err().field, "lease.host_id");
    }

    #[test]
    fn a_break_is_what_it_was() {
        let hosts = vec![HostId::new(), HostId::new()];
        let command = StorageCommand::BreakLease { vdi: VdiId::new(), sr: SrId::new(), of: hosts };
        let Wire::BreakLease(mut on_the_wire) = Wire::from(&command) else { panic!("another command") };
        assert_eq!(parse_break(&on_the_wire).unwrap(), command);
        on_the_wire.host_ids.push("xen1".to_owned());
        assert_eq!(parse_break(&on_the_wire).unwrap_err().field, "host_ids[2]");
    }
}
