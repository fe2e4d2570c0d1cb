//! Guests' facts out of xenstore, in the agent's own words.

use futures::stream::{self, BoxStream, StreamExt};
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::GuestFactsSource;
use xenith_hypervisor_agent_types::GuestFacts;
use xenith_hypervisor_agent_xenstore::guest::{self, Debounce, GuestWatcher};
use xenith_hypervisor_agent_xenstore::{Xenstore, XenstoreError};

/// Reads `/local/domain/N` of each guest that is watched.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    store: Xenstore,
    debounce: Debounce,
}

impl StoreFacts {
    #[must_use]
    pub fn new(store: Xenstore) -> Self {
        Self { store, debounce: Debounce::default() }
    }

    /// Begins to watch, as soon as there is a daemon to ask. `None`: there is no such domain.
    async fn watcher(&self, domid: DomId) -> Option<GuestWatcher> {
        loop {
            match GuestWatcher::new(&self.store, domid, self.debounce).await {
                Ok(watcher) => return Some(watcher),
                Err(XenstoreError::NotFound { .. } | XenstoreError::ShutDown { .. }) => return None,
                Err(error) if error.is_retryable() => self.store.connected().await.ok()?,
                Err(error) => {
                    tracing::warn!(%domid, %error, "this guest's facts cannot be watched");
                    return None;
                }
            }
        }
    }
}

impl GuestFactsSource for StoreFacts {
    fn watch(&self, domid: DomId) -> BoxStream<'static, GuestFacts> {
        let source = self.clone();
        stream::once(async move { source.watcher(domid).await })
            .filter_map(std::future::ready)
            .flat_map(GuestWatcher::into_stream)
            .map(facts)
            .boxed()
    }
}

fn facts(read: guest::GuestFacts) -> GuestFacts {
    let guest::GuestFacts { addresses, os, pv_drivers, memory, .. } = read;
    let mut addresses: Vec<_> = addresses.into_iter().map(|found| found.address).collect();
    // Sorted by NIC, in which order people know them; the same address on two NICs is told once.
    let mut told = std::collections::BTreeSet::new();
    addresses.retain(|address| told.insert(*address));
    let drivers = (!pv_drivers.drivers.is_empty()).then(|| pv_drivers.drivers.join(", "));
    let pv_drivers = match (pv_drivers.version, drivers) {
        (Some(version), Some(drivers)) => Some(format!("{version} ({drivers})")),
        (version, drivers) => version.or(drivers),
    };
    let named = [("os_distro", os.distro), ("os_uname", os.uname)];
    let data = named.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    GuestFacts { addresses: addresses.into(), os: os.name, pv_drivers, memory_free: memory.free, data }
}
