//! What this crate reads in xenstore itself: the facts that libxl keeps there but does not hand out.

use std::path::PathBuf;

use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{DomainIdentity, PlatformKind};
use xenith_hypervisor_agent_xenstore::{Xenstore, XenstoreError, domain_path};

use crate::channel;

/// What never changes in a domain's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub identity: Option<DomainIdentity>,
    /// `None` while the domain is being built, and for what is not a guest.
    pub kind: Option<PlatformKind>,
    pub memory_max: Option<MemoryMiB>,
}

impl Fixed {
    /// Nothing of it changes any more: libxl writes the memory of a domain last.
    pub const fn is_whole(&self) -> bool {
        self.kind.is_some() && self.memory_max.is_some()
    }
}

/// Reads [`Fixed`]: what libxl writes last first. A domain that is being built is then seen whole, or not; read the other
/// way round, it could look whole and have no mark, and would count for its whole life as none of ours.
pub async fn fixed(store: &Xenstore, domid: DomId) -> Result<Fixed, HypervisorError> {
    let maximum = read(store, &format!("{}/memory/static-max", domain_path(domid))).await?;
    let kind = read(store, &format!("/libxl/{domid}/type")).await?;
    // A mark that is half there or garbled is none: whoever wrote it, we did not, and Xen's own uuid tells whose domain it
    // is. One that cannot be read is an error: taken for none, it would be remembered as that for the domain's whole life.
    let identity = match store.read_incarnation(domid).await {
        Ok(mark) => mark.map(|mark| DomainIdentity { vm: mark.vm, incarnation: mark.incarnation }),
        Err(XenstoreError::Malformed { .. }) => None,
        Err(error) => return Err(from_store(&error)),
    };
    let memory_max = maximum.and_then(|kib| kib.trim().parse().ok()).map(kib_to_mib);
    Ok(Fixed { identity, kind: kind.and_then(|kind| kind.trim().parse().ok()), memory_max })
}

/// The TCP port of the domain's VNC server, once QEMU has told it.
pub async fn vnc_port(store: &Xenstore, domid: DomId) -> Result<Option<u16>, HypervisorError> {
    let port = read(store, &format!("{}/console/vnc-port", domain_path(domid))).await?;
    Ok(port.and_then(|port| port.trim().parse().ok()))
}

/// The process that libxl started as the domain's device model. No guest writes there.
pub async fn device_model(store: &Xenstore, domid: DomId) -> Result<Option<u32>, HypervisorError> {
    let pid = read(store, &format!("{}/image/device-model-pid", domain_path(domid))).await?;
    Ok(pid.and_then(|pid| pid.trim().parse().ok()))
}

/// The socket of the domain's channel to its guest agent.
pub async fn guest_agent(store: &Xenstore, domid: DomId) -> Result<Option<PathBuf>, HypervisorError> {
    Ok(read(store, &channel::node(domid)).await?.as_deref().and_then(channel::socket))
}

/// Whether the guest has emptied the node by which it is asked to stop (or nobody ever asked).
pub async fn has_taken_up(store: &Xenstore, domid: DomId) -> Result<bool, HypervisorError> {
    let asked = read(store, &format!("{}/control/shutdown", domain_path(domid))).await?;
    Ok(asked.is_none_or(|asked| asked.is_empty()))
}

async fn read(store: &Xenstore, path: &str) -> Result<Option<String>, HypervisorError> {
    store.read_if_there(path).await.map_err(|error| from_store(&error))
}

/// xenstore is part of what makes a host a Xen host.
pub fn from_store(error: &XenstoreError) -> HypervisorError {
    match error {
        XenstoreError::Unreachable { .. } => HypervisorError::NotAXenHost { detail: error.to_string() },
        XenstoreError::ShutDown { .. } => HypervisorError::Closed,
        _ => HypervisorError::Failed {
            operation: "reading xenstore",
            code: "xenstore".to_owned(),
            log: error.to_string(),
        },
    }
}

/// Rounds to the nearest: Xen's figures differ from round ones by a few pages.
pub fn kib_to_mib(kib: u64) -> MemoryMiB {
    MemoryMiB::from_bytes_floor(kib.saturating_add(512).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::{IncarnationId, VmId};
    use xenith_common_tasks::TaskSet;
    use xenith_hypervisor_agent_xenstore::test_support::XenstoredFixture;
    use xenith_hypervisor_agent_xenstore::{Incarnation, Options};

    use super::*;

    /// In libxl's order.
    async fn build(store: &Xenstore, domid: DomId, mark: Incarnation) {
        let home = domain_path(domid);
        store.write(&home, "").await.unwrap();
        store.write_incarnation(domid, mark).await.unwrap();
        store.write(&format!("/libxl/{domid}/type"), "pvh").await.unwrap();
        store.write(&format!("{home}/memory/static-max"), "262144").await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_absent() {
        let daemon = XenstoredFixture::start().await;
        let tasks = TaskSet::new();
        let store = Xenstore::connect(Options::new(daemon.endpoint()), &tasks).await.unwrap();
        let (known, lost) = (DomId(1), DomId(2));
        build(&store, known, Incarnation { vm: VmId::new(), incarnation: IncarnationId::new() }).await;
        let nothing = Fixed { identity: None, kind: None, memory_max: None };
        assert_eq!(fixed(&store, lost).await.unwrap(), nothing);
        assert!(!nothing.is_whole(), "what was lost may be there again, and is not remembered");
        tasks.shut_down(std::time::Duration::from_secs(30)).await.unwrap();
        for domid in [known, lost] {
            assert_eq!(fixed(&store, domid).await, Err(HypervisorError::Closed), "{domid}");
        }
    }

    #[tokio::test]
    async fn a_domain_that_looks_whole_has_its_mark() {
        let daemon = XenstoredFixture::start().await;
        let tasks = TaskSet::new();
        let store = Xenstore::connect(Options::new(daemon.endpoint()), &tasks).await.unwrap();
        for domid in (1..64).map(DomId) {
            let mark = Incarnation { vm: VmId::new(), incarnation: IncarnationId::new() };
            let look = async {
                loop {
                    match fixed(&store, domid).await {
                        Ok(seen) if seen.is_whole() => return seen,
                        _ => tokio::task::yield_now().await,
                    }
                }
            };
            let (seen, ()) = tokio::join!(look, build(&store, domid, mark));
            let identity = DomainIdentity { vm: mark.vm, incarnation: mark.incarnation };
            assert_eq!(seen.identity, Some(identity), "{domid}");
        }
    }
}
