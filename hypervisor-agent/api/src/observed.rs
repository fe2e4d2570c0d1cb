//! What an agent tells of its host, in domain types.

use xenith_common_ids::{Generation, HostId, SrId, VmId};
use xenith_hypervisor_agent_types::{HostFacts, ObservedVm};

use crate::convert::{id, required, under};
use crate::{WireError, wire};

const ID_BYTES: usize = 16;

/// An agent's answer to `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub protocol: u32,
    pub agent_version: String,
    pub host: HostId,
    pub facts: HostFacts,
    /// The SR on the host's own disk.
    pub local_sr: SrId,
}

/// One message of the stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub instance: String,
    pub generation: Generation,
    /// `vms` is everything; whatever is not in it is gone.
    pub full: bool,
    pub vms: Vec<ObservedVm>,
    pub gone: Vec<VmId>,
    pub host: Option<HostFacts>,
    /// VMs of which nothing is new but the CPU time that they used, in nanoseconds.
    pub ran: Vec<(VmId, u64)>,
}

impl From<&Hello> for wire::HelloReply {
    fn from(hello: &Hello) -> Self {
        Self {
            protocol: hello.protocol,
            agent_version: hello.agent_version.clone(),
            host_id: hello.host.to_string(),
            host: Some((&hello.facts).into()),
            local_sr: hello.local_sr.to_string(),
        }
    }
}

impl TryFrom<wire::HelloReply> for Hello {
    type Error = WireError;

    fn try_from(hello: wire::HelloReply) -> Result<Self, WireError> {
        Ok(Self {
            protocol: hello.protocol,
            agent_version: hello.agent_version,
            host: id("host_id", &hello.host_id)?,
            facts: under("host", required("host", hello.host)?.try_into())?,
            local_sr: id("local_sr", &hello.local_sr)?,
        })
    }
}

impl From<&Changes> for wire::WatchReply {
    fn from(changes: &Changes) -> Self {
        Self {
            instance: changes.instance.clone(),
            generation: changes.generation.0,
            full: changes.full,
            vms: changes.vms.iter().map(Into::into).collect(),
            gone_vms: changes.gone.iter().map(ToString::to_string).collect(),
            host: changes.host.as_ref().map(Into::into),
            ran: (!changes.ran.is_empty()).then(|| ran_to_wire(&changes.ran)),
        }
    }
}

fn ran_to_wire(ran: &[(VmId, u64)]) -> wire::Ran {
    wire::Ran {
        vm_ids: id_column(ran.iter().map(|(vm, _)| vm)),
        cpu_time_ns: ran.iter().map(|(_, cpu_time_ns)| *cpu_time_ns).collect(),
    }
}

/// 16 bytes for each.
pub(crate) fn id_column<'a>(vms: impl ExactSizeIterator<Item = &'a VmId>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(vms.len() * ID_BYTES);
    vms.for_each(|vm| bytes.extend_from_slice(vm.as_bytes()));
    bytes
}

/// `rows`: how many there must be.
pub(crate) fn ids_of_column(field: &str, column: &[u8], rows: usize) -> Result<Vec<VmId>, WireError> {
    let (ids, rest) = column.as_chunks::<ID_BYTES>();
    if !rest.is_empty() || ids.len() != rows {
        return Err(WireError::new(field, format!("{} bytes are not the ids of {rows} VMs", column.len())));
    }
    Ok(ids.iter().map(|id| VmId::from_bytes(*id)).collect())
}

fn ran(wire: &wire::Ran) -> Result<Vec<(VmId, u64)>, WireError> {
    let ids = ids_of_column("ran.vm_ids", &wire.vm_ids, wire.cpu_time_ns.len())?;
    Ok(ids.into_iter().zip(wire.cpu_time_ns.iter().copied()).collect())
}

impl TryFrom<wire::WatchReply> for Changes {
    type Error = WireError;

    fn try_from(reply: wire::WatchReply) -> Result<Self, WireError> {
        Ok(Self {
            instance: reply.instance,
            generation: Generation(reply.generation),
            full: reply.full,
            vms: reply
                .vms
                .into_iter()
                .enumerate()
                .map(|(index, vm)| under(format_args!("vms[{index}]"), vm.try_into()))
                .collect::<Result<_, _>>()?,
            gone: reply.gone_vms.iter().map(|vm| id("gone_vms", vm)).collect::<Result<_, _>>()?,
            host: reply.host.map(|host| under("host", host.try_into())).transpose()?,
            ran: reply.ran.as_ref().map_or(Ok(Vec::new()), ran)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_that_only_ran_round_trip_and_what_is_wrong_is_named() {
        let changes = Changes {
            instance: "1".into(),
            generation: Generation(7),
            full: false,
            vms: vec![],
            gone: vec![VmId::new()],
            host: None,
            ran: vec![(VmId::new(), 1), (VmId::new(), u64::MAX)],
        };
        let told = wire::WatchReply::from(&changes);
        assert_eq!(Changes::try_from(told.clone()).unwrap(), changes);
        let spoil = |spoil: fn(&mut wire::Ran)| {
            let mut told = told.clone();
            told.ran.as_mut().map(spoil).unwrap();
            Changes::try_from(told).unwrap_err().to_string()
        };
        for error in [
            spoil(|ran| ran.vm_ids.truncate(31)),
            spoil(|ran| ran.vm_ids.truncate(16)),
            spoil(|ran| ran.cpu_time_ns.push(1)),
        ] {
            assert!(error.contains("ran.vm_ids"), "{error}");
        }
    }
}
