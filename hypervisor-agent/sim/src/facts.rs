//! Guests' facts as a stream, like the watch on xenstore that a real host has.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::GuestFactsSource;
use xenith_hypervisor_agent_types::GuestFacts;

use crate::SimHypervisor;

impl GuestFactsSource for SimHypervisor {
    /// One revision counter serves all guests of a host: a watcher that wakes for nothing compares a few
    /// fields, which is cheaper than a channel per domain.
    fn watch(&self, domid: DomId) -> BoxStream<'static, GuestFacts> {
        let inner = Arc::downgrade(&self.inner);
        let revision = self.inner.with(|world, _| {
            let mut revision = world.revision.subscribe();
            revision.mark_changed();
            revision
        });
        let told: Option<GuestFacts> = None;
        stream::unfold((inner, revision, told), move |(inner, mut revision, told)| async move {
            loop {
                revision.changed().await.ok()?;
                let facts = inner.upgrade()?.with(|world, _| world.guest_facts(domid))?;
                if told.as_ref() != Some(&facts) {
                    return Some((facts.clone(), (inner, revision, Some(facts))));
                }
            }
        })
        .boxed()
    }
}
