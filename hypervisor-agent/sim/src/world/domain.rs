//! One simulated domain and the guest in it.
//!
//! ```text
//! Building --finished--> Paused <--> Running --end--> Dead(reason) --destroy--> (gone)
//! guest:   Booting --boot--> Up --request--> Leaving(reason) --shutdown--> the domain's end
//! ```
//!
//! A guest has at most one thing before it, and only while its virtual CPUs run: a pause stops the time that
//! is left to a boot or a shutdown. CPU time is counted when it is asked for, so a domain at rest costs its
//! memory and nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use xenith_common_ids::{DomId, DomainUuid, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};
use xenith_hypervisor_agent_types::{
    DeathReason, DomainDisk, DomainHardware, DomainIdentity, DomainInfo, DomainNic, DomainSpec, DomainStatus,
    Graphics, GuestFacts, MemorySpec, PlatformKind, VcpuSpec, link_local,
};

use crate::console::Consoles;
use crate::guest_agent::GuestAgent;
use crate::{GuestModel, Manners};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Listed, its call not answered yet.
    Building,
    Paused,
    Running,
    /// Being written to a stream; the virtual CPUs stand still.
    Suspending,
    Dead(DeathReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Booting,
    Up,
    Leaving(DeathReason),
}

/// When the guest's next step comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Off,
    Due(Duration),
    /// So much running time is left; the virtual CPUs stand still.
    Held(Duration),
}

#[derive(Debug)]
pub(crate) struct Domain {
    pub name: Box<str>,
    /// Xen's own, which stays whatever becomes of xenstore.
    pub uuid: DomainUuid,
    /// In xenstore, as are the names of real domains.
    pub identity: Option<DomainIdentity>,
    pub kind: PlatformKind,
    pub run: Run,
    pub stage: Stage,
    pub timer: Timer,
    /// Asked for before the guest could hear it.
    pub pending: Option<DeathReason>,
    pub manners: Manners,
    pub memory: MemoryMiB,
    pub memory_max: MemoryMiB,
    pub vcpus: VcpuSpec,
    pub disks: Vec<DomainDisk>,
    pub nics: Vec<DomainNic>,
    pub created: Duration,
    pub cpu_ns: u64,
    pub counted_at: Duration,
    /// How busy each virtual CPU is.
    pub load_permille: u16,
    pub graphics: Graphics,
    pub hardware: Option<Box<DomainHardware>>,
    pub consoles: Option<Box<Consoles>>,
    /// Where the domain has a channel to one.
    pub guest_agent: Option<Arc<GuestAgent>>,
}

impl Domain {
    pub(crate) fn building(spec: &DomainSpec, manners: Manners, at: Duration) -> Self {
        Self {
            name: spec.name.as_str().into(),
            uuid: spec.identity.vm.into(),
            identity: Some(spec.identity),
            kind: spec.kind,
            run: Run::Building,
            stage: Stage::Booting,
            timer: Timer::Off,
            pending: None,
            manners,
            memory: spec.memory.target,
            memory_max: spec.memory.max,
            vcpus: spec.vcpus,
            disks: spec.disks.clone(),
            nics: spec.nics.clone(),
            created: at,
            cpu_ns: 0,
            counted_at: at,
            load_permille: 0,
            graphics: spec.graphics,
            hardware: plain_is_none(&spec.hardware),
            consoles: None,
            guest_agent: spec.hardware.guest_agent.then(Arc::default),
        }
    }

    /// Made "by xl": running, nobody's.
    pub(crate) fn foreign(
        name: &str,
        kind: PlatformKind,
        memory: MemorySpec,
        vcpus: VcpuSpec,
        at: Duration,
    ) -> Self {
        Self {
            name: name.into(),
            uuid: DomainUuid::new(),
            identity: None,
            kind,
            run: Run::Running,
            stage: Stage::Up,
            timer: Timer::Off,
            pending: None,
            manners: Manners::Polite,
            memory: memory.target,
            memory_max: memory.max,
            vcpus,
            disks: Vec::new(),
            nics: Vec::new(),
            created: at,
            cpu_ns: 0,
            counted_at: at,
            load_permille: 100,
            graphics: Graphics::None,
            hardware: None,
            consoles: None,
            guest_agent: None,
        }
    }

    pub(crate) const fn is_alive(&self) -> bool {
        !matches!(self.run, Run::Dead(_))
    }

    /// Whether it is this VM by Xen's own word and was ever let run: a second domain would write the same disks.
    pub(crate) fn has_run_as(&self, vm: VmId, at: Duration) -> bool {
        self.uuid == DomainUuid::from(vm)
            && self.is_alive()
            && (self.run == Run::Running || self.cpu_time_ns(at) > 0)
    }

    /// Whether its guest has booted.
    pub(crate) fn is_up(&self) -> bool {
        self.stage != Stage::Booting
    }

    pub(crate) fn cpu_time_ns(&self, at: Duration) -> u64 {
        if self.run != Run::Running {
            return self.cpu_ns;
        }
        let ran = at.saturating_sub(self.counted_at).as_nanos();
        let busy = ran * u128::from(self.vcpus.online.get()) * u128::from(self.load_permille) / 1000;
        self.cpu_ns.saturating_add(u64::try_from(busy).unwrap_or(u64::MAX))
    }

    /// To be called before anything changes that CPU time depends on.
    pub(crate) fn count_cpu(&mut self, at: Duration) {
        self.cpu_ns = self.cpu_time_ns(at);
        self.counted_at = at;
    }

    pub(crate) const fn status(&self) -> DomainStatus {
        match self.run {
            Run::Running => DomainStatus::Running,
            Run::Building | Run::Paused | Run::Suspending => DomainStatus::Paused,
            Run::Dead(reason) => DomainStatus::Dead(reason),
        }
    }

    /// For people, in errors.
    pub(crate) const fn status_text(&self) -> &'static str {
        match self.run {
            Run::Building => "being built",
            Run::Paused => "paused",
            Run::Running => "running",
            Run::Suspending => "being suspended",
            Run::Dead(_) => "dead",
        }
    }

    pub(crate) fn info(&self, domid: DomId, at: Duration, epoch: OffsetDateTime) -> DomainInfo {
        DomainInfo {
            domid,
            uuid: self.uuid,
            name: self.name.to_string(),
            identity: self.identity,
            status: self.status(),
            kind: self.kind,
            memory: self.memory,
            memory_max: self.memory_max,
            vcpus_online: self.vcpus.online.get(),
            cpu_time_ns: self.cpu_time_ns(at),
            created: Some(epoch + self.created),
        }
    }

    /// What the guest has told; nothing before it is up, and nothing without PV drivers.
    pub(crate) fn facts(&self, model: &GuestModel) -> GuestFacts {
        if self.stage == Stage::Booting || !self.is_alive() || self.manners == Manners::NoDrivers {
            return GuestFacts::default();
        }
        GuestFacts {
            addresses: self.nics.iter().flat_map(|nic| addresses(nic.mac)).collect(),
            os: Some(model.os.clone()),
            pv_drivers: Some("simulated 1.0".to_owned()),
            memory_free: Some(MemoryMiB::from_bytes_floor(self.memory.bytes() / 5 * 3)),
            data: model.data.clone(),
        }
    }
}

/// Most domains have nothing special, and there may be a hundred thousand of them.
pub(super) fn plain_is_none(hardware: &DomainHardware) -> Option<Box<DomainHardware>> {
    (*hardware != DomainHardware::default()).then(|| Box::new(hardware.clone()))
}

/// What a guest gives its NIC: a private IPv4 address made of the MAC's last bytes, and its IPv6 link-local address.
fn addresses(mac: MacAddr) -> [IpAddr; 2] {
    let [_, _, _, d, e, f] = mac.octets();
    [IpAddr::V4(Ipv4Addr::new(10, d, e, f)), IpAddr::V6(link_local(mac))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_mac() {
        let [v4, v6] = addresses("00:16:3e:01:02:03".parse().unwrap());
        assert_eq!(
            (v4.to_string().as_str(), v6.to_string().as_str()),
            ("10.1.2.3", "fe80::216:3eff:fe01:203")
        );
    }
}
