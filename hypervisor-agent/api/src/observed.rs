//! What an agent tells of its host, in domain types.

use xenith_common_ids::{Generation, HostId, SrId, VmId};
use xenith_hypervisor_agent_types::{HostFacts, ObservedVm};

use crate::convert::{id, required, under};
use crate::{WireError, wire};

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
        }
    }
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
        })
    }
}
