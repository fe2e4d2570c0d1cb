//! Keeps the picture by what changes, and has hosts told.
//!
//! What always holds: the picture is brought up to date before anybody goes by it, from the store's feed and from what the
//! read model says has changed; it is read anew only where the feed does not reach back. A round costs what changed. Each
//! host is told by itself: one that does not answer holds up no other, and is told the newest when it does.
//!
//! What is written down for the NICs of a VM and cannot be read is named in the log, and holds up the hosts with that VM
//! alone ([`Picture::unread_on`]). A network or a group that cannot be read holds up all: nobody knows whom it concerns.
//!
//! The picture's lock is held for moments, and never across anything that waits.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use xenith_common_ids::{HostId, NetworkId, PoolId, SecurityGroupId, VmId};
use xenith_orchestrator_store::{CollectionWatch, RecordEvent, StoreError, StoreKey};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::security_group::SecurityGroup;

use super::addresses::{Addresses, look_up};
use super::picture::{Known, News, Picture, VmPicture};
use super::wanted::Vifs;
use super::{Again, Networking};
use crate::db::Db;
use crate::fleet::Fleet;
use crate::metering::now;
use crate::views::Views;

/// How often is looked for hosts that are to be told again, and for names.
const EVERY: Duration = Duration::from_secs(5);
/// How long news of VMs and hosts are gathered: they come in swarms. What is declared anew is told at once.
const GATHER: Duration = Duration::from_millis(200);
/// Hosts that are told at the same time, and names that are looked up.
const AT_ONCE: usize = 64;
/// The port of the tunnels between hosts.
const TUNNELS: u16 = 4789;

/// What is declared, as it is written.
struct Streams {
    networks: CollectionWatch<NetworkId, Network>,
    groups: CollectionWatch<SecurityGroupId, SecurityGroup>,
    vifs: CollectionWatch<VmId, Vifs>,
}

/// The picture, and by what it is kept.
#[derive(Default)]
pub(super) struct Kept {
    pub picture: Picture,
    addresses: Addresses,
    streams: Option<Streams>,
    /// VMs that something is written down for, and that the read model does not know.
    orphans: HashSet<VmId>,
}

/// Where the picture looks things up.
struct Source<'a> {
    views: &'a Views,
    fleet: &'a Fleet,
    addresses: &'a mut Addresses,
}

impl Known for Source<'_> {
    fn vm(&self, vm: VmId) -> Option<VmPicture> {
        self.views.vm(vm).map(|known| VmPicture::from(&*known))
    }

    fn tagged(&self, tags: &HashSet<String>) -> Vec<VmId> {
        self.views.vms_tagged(tags)
    }

    fn hosts(&self) -> Vec<HostId> {
        self.fleet.states().into_iter().map(|(host, _)| host).collect()
    }

    fn host(&mut self, host: HostId) -> Option<(PoolId, Option<IpAddr>)> {
        let Some(record) = self.views.host(host) else {
            self.addresses.forget(host);
            return None;
        };
        Some((record.pool, self.addresses.of(host, &record.for_peers(TUNNELS))))
    }

    fn with_domain(&self, host: HostId) -> BTreeSet<VmId> {
        self.fleet.state(host).map(|state| state.with_domain()).unwrap_or_default()
    }
}

/// What was written, without waiting for more. `None`: something was missed, or cannot be read.
fn written<K, V>(stream: &mut CollectionWatch<K, V>) -> Option<Vec<(K, Option<V>)>>
where
    K: StoreKey,
    V: Serialize + DeserializeOwned,
{
    let mut all = Vec::new();
    while let Some(event) = stream.next().now_or_never() {
        let Ok(RecordEvent::Changes(changes)) = event else { return None };
        all.extend(changes.into_iter().map(|change| (change.key, change.value)));
    }
    Some(all)
}

impl Streams {
    /// All that is declared, and what will be.
    async fn read(db: &Db) -> Result<(Self, News), StoreError> {
        let (networks, networks_since) = db.networks.all().await?;
        let (groups, groups_since) = db.security_groups.all().await?;
        let (vifs, vifs_since) = db.vifs.all_or_why().await?;
        let streams = Self {
            networks: db.networks.watch(networks_since),
            groups: db.security_groups.watch(groups_since),
            vifs: db.vifs.watch(vifs_since),
        };
        let mut news = News {
            networks: networks.into_iter().map(|record| (record.key, Some(record.value))).collect(),
            groups: groups.into_iter().map(|record| (record.key, Some(record.value))).collect(),
            ..News::default()
        };
        for record in vifs {
            match record.value {
                Ok(vifs) => news.vifs.push((record.key, Some(vifs))),
                Err(error) => {
                    let vm = record.key;
                    tracing::error!(%vm, %error, "the hosts with this VM are told nothing of networks and rules");
                    news.unread.push(vm);
                }
            }
        }
        Ok((streams, news))
    }

    fn written(&mut self) -> Option<News> {
        Some(News {
            networks: written(&mut self.networks)?,
            groups: written(&mut self.groups)?,
            vifs: written(&mut self.vifs)?,
            ..News::default()
        })
    }
}

impl Kept {
    /// Takes in what changed. Whether nothing was missed.
    fn follow(&mut self, views: &Views, fleet: &Fleet) -> bool {
        let Some(mut news) = self.streams.as_mut().and_then(Streams::written) else { return false };
        news.placed = views.take_placed();
        self.take_in(news, views, fleet);
        true
    }

    fn begin_anew(&mut self, (streams, mut news): (Streams, News), views: &Views, fleet: &Fleet) {
        // Before anything is looked up: what changes meanwhile is told again.
        let _looked_up_below = views.take_placed();
        let standbys = views.vms_where(|_, known| known.standby_of().is_some());
        news.placed.vms = standbys.into_iter().collect();
        news.placed.hosts = views.hosts().into_iter().map(|(host, _)| host).collect();
        self.picture = Picture::after(std::mem::take(&mut self.picture));
        self.orphans.clear();
        self.streams = Some(streams);
        self.take_in(news, views, fleet);
    }

    fn take_in(&mut self, news: News, views: &Views, fleet: &Fleet) {
        let written = news.vifs.iter().map(|(vm, _)| *vm);
        let looked_at: Vec<VmId> = written.chain(news.placed.vms.iter().copied()).collect();
        self.picture.apply(news, &mut Source { views, fleet, addresses: &mut self.addresses });
        for vm in looked_at {
            if self.picture.has_vifs(vm) && views.vm(vm).is_none() {
                self.orphans.insert(vm);
            } else {
                self.orphans.remove(&vm);
            }
        }
        self.picture.arrived(Instant::now());
    }
}

impl Networking {
    /// Brings the picture up to date: all that was written when this is called is in it.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let is_current = self.kept().follow(&self.views, &self.fleet);
        if is_current {
            return Ok(());
        }
        loop {
            let (hosts, _) = self.db.host_networks.all().await?;
            let read = Streams::read(&self.db).await?;
            let mut kept = self.kept();
            kept.begin_anew(read, &self.views, &self.fleet);
            let keys = hosts.into_iter().filter_map(|record| Some((record.key, record.value?)));
            kept.picture.remember_keys(keys);
            // Somebody else may have read later, and what this one read must not stand.
            if kept.follow(&self.views, &self.fleet) {
                return Ok(());
            }
        }
    }

    /// The same, beside the keeper, which then tells whom it concerns.
    pub(super) async fn catch_up_beside(&self) -> Result<(), StoreError> {
        self.catch_up().await?;
        if self.kept().picture.has_changed() {
            self.wake();
        }
        Ok(())
    }

    /// Never ends by itself.
    pub async fn keep(&self) {
        tokio::join!(self.tell_hosts(), self.look_up_names());
    }

    async fn tell_hosts(&self) {
        let mut now_and_then = interval(EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut waiting, mut busy) = (BTreeSet::<HostId>::new(), HashSet::<HostId>::new());
        let mut under_way = FuturesUnordered::new();
        let mut gathered: Option<Instant> = None;
        loop {
            while under_way.len() < AT_ONCE {
                let next = waiting.iter().find(|host| !busy.contains(*host)).copied();
                let Some(host) = next else { break };
                waiting.remove(&host);
                busy.insert(host);
                under_way.push(self.tell_one(host));
            }
            let until = gathered.unwrap_or_else(Instant::now);
            tokio::select! {
                Some(host) = under_way.next() => {
                    busy.remove(&host);
                    continue;
                }
                () = self.changed.notified() => {}
                () = self.views.placed(), if gathered.is_none() => {
                    gathered = Some(Instant::now() + GATHER);
                    continue;
                }
                () = sleep_until(until), if gathered.is_some() => {}
                _ = now_and_then.tick() => {}
            }
            gathered = None;
            match self.look().await {
                Ok(hosts) => waiting.extend(hosts),
                Err(error) => {
                    tracing::warn!(%error, "what hosts must have of networks cannot be read");
                    sleep(EVERY).await;
                }
            }
        }
    }

    /// Who is to be told something, or looked at: by what changed, and by how long ago it was told.
    async fn look(&self) -> Result<HashSet<HostId>, StoreError> {
        self.catch_up().await?;
        let orphans: Vec<VmId> = self.kept().orphans.iter().copied().collect();
        for vm in orphans {
            match self.forget_vifs(vm).await {
                // There is such a VM, so what is written down for it stands until that can be read or is gone.
                Err(error @ StoreError::Decode { .. }) => {
                    tracing::error!(%vm, %error, "what is written down for the NICs of a VM is kept");
                    self.kept().orphans.remove(&vm);
                }
                forgotten => forgotten?,
            }
        }
        self.kept().picture.look_at_keys(now());
        // Last: who was taken is told.
        let mut hosts = self.kept().picture.take_changed();
        hosts.iter().filter(|host| self.views.host(**host).is_none()).for_each(|host| self.forget(*host));
        hosts.extend(self.due());
        // One that is not heard changes when it is.
        hosts.retain(|host| self.fleet.state(*host).is_some_and(|state| state.is_heard()));
        Ok(hosts)
    }

    /// Of a VM that was deleted. One that was just made is in the store before it is in memory.
    async fn forget_vifs(&self, vm: VmId) -> Result<(), StoreError> {
        if self.views.vm(vm).is_none()
            && self.db.vms.get(&vm).await?.is_none()
            && let Some(record) = self.db.vifs.get(&vm).await?
        {
            let _somebody_else_did = self.db.vifs.delete(&record).await;
        }
        Ok(())
    }

    async fn tell_one(&self, host: HostId) -> HostId {
        let Some(record) = self.views.host(host) else { return host };
        if let Err(error) = self.settle((host, &record), Again::InTime).await {
            tracing::warn!(%host, %error, "what the host was told of networks cannot be noted");
            self.kept().picture.touch(host);
        }
        host
    }

    /// For private networks, whose hosts send to each other.
    async fn look_up_names(&self) {
        let mut now_and_then = interval(EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            now_and_then.tick().await;
            let due = {
                let kept = self.kept();
                if kept.picture.has_private() { kept.addresses.due(Instant::now()) } else { Vec::new() }
            };
            let found = futures::stream::iter(due).map(|(host, recorded)| async move {
                let found = look_up(&recorded).await;
                (host, recorded, found)
            });
            let found: Vec<_> = found.buffer_unordered(AT_ONCE).collect().await;
            let mut is_news = false;
            for (host, recorded, found) in found {
                let mut kept = self.kept();
                if let Some(address) = kept.addresses.note((host, &recorded), found, Instant::now()) {
                    kept.picture.put_address(host, address);
                    is_news = true;
                }
            }
            if is_news {
                self.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenith_orchestrator_store::{Collection, Keyspace, MemoryStore};

    use super::*;
    use crate::db::schema;

    #[tokio::test]
    async fn settings_that_cannot_be_read_hold_up_no_others() {
        let db = Db::over(Arc::new(MemoryStore::new(&schema())));
        let (fine, broken) = (VmId::from_bytes([1; 16]), VmId::from_bytes([2; 16]));
        let (mut streams, news) = Streams::read(&db).await.unwrap();
        assert!(news.vifs.is_empty() && news.unread.is_empty());

        let of_another_program: Collection<VmId, String> =
            Collection::new(Arc::clone(db.vifs.store()), Keyspace::new("vif"));
        of_another_program.put(&broken, &"no settings".to_owned()).await.unwrap();
        db.vifs.put(&fine, &Vifs::new()).await.unwrap();
        assert!(streams.written().is_none(), "so all is read anew");
        let (mut streams, news) = Streams::read(&db).await.unwrap();
        assert_eq!((news.vifs, news.unread), (vec![(fine, Some(Vifs::new()))], vec![broken]));

        db.vifs.put(&broken, &Vifs::new()).await.unwrap();
        let news = streams.written().unwrap();
        assert_eq!((news.vifs, news.unread), (vec![(broken, Some(Vifs::new()))], vec![]));
    }
}
