//! Reading the facts of one domain, at one time.
//!
//! Not in a transaction: a guest that writes all the time would make it conflict for ever, and facts that are a
//! millisecond apart contradict nothing. The number of requests is bounded by [`VIFS_MAX`] and
//! [`ADDRESSES_MAX`], whatever the guest writes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use futures::future::try_join_all;
use xenith_common_ids::DomId;

use super::facts::{GuestAddress, GuestFacts, GuestMemory, GuestOs, PvDrivers, ShutdownControl};
use super::foreign::{parse_addresses, parse_flag, parse_index, parse_kib, parse_text};
use crate::connection::Xenstore;
use crate::error::XenstoreError;
use crate::path::domain_path;

/// How many VIFs of a guest are looked at. Xen's own tools attach at most 8 by default.
pub const VIFS_MAX: u16 = 64;
/// How many addresses of a guest are kept, over all its VIFs; the lowest win.
pub const ADDRESSES_MAX: usize = 256;
/// How many addresses one VIF may list per kind, and how many drivers a guest.
const LIST_MAX: u16 = 32;

impl Xenstore {
    /// What the guest in `domain` says now. Absent nodes are absent facts;
    /// [`XenstoreError::NotFound`] means that there is no such domain in the store.
    pub async fn guest_facts(&self, domain: DomId) -> Result<GuestFacts, XenstoreError> {
        let home = domain_path(domain);
        self.read_bytes(&home).await?;
        let reader = Reader { store: self, home: &home };
        let (addresses, os, pv_drivers, memory, shutdown) = tokio::try_join!(
            Box::pin(reader.addresses()),
            Box::pin(reader.os()),
            Box::pin(reader.pv_drivers()),
            Box::pin(reader.memory()),
            Box::pin(reader.shutdown()),
        )?;
        Ok(GuestFacts { addresses, os, pv_drivers, memory, shutdown })
    }
}

struct Reader<'a> {
    store: &'a Xenstore,
    home: &'a str,
}

impl Reader<'_> {
    /// `None` also for what xenstored cannot name or a guest made unreadable: it is no fact, not our failure.
    async fn value(&self, path: &str) -> Result<Option<Bytes>, XenstoreError> {
        match self.store.read_bytes(&format!("{}/{path}", self.home)).await {
            Ok(value) => Ok(Some(value)),
            Err(error) => no_fact(error),
        }
    }

    async fn values<const N: usize>(&self, paths: [&str; N]) -> Result<[Option<Bytes>; N], XenstoreError> {
        let values = try_join_all(paths.map(|path| self.value(path))).await?;
        Ok(values.try_into().expect("as many values as paths"))
    }

    async fn text(&self, path: &str) -> Result<Option<String>, XenstoreError> {
        Ok(self.value(path).await?.and_then(|value| parse_text(&value)))
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, XenstoreError> {
        let names = match self.store.directory(&format!("{}/{path}", self.home)).await {
            Ok(names) => Some(names),
            Err(error) => no_fact(error)?,
        };
        Ok(names.unwrap_or_default())
    }

    /// The children with a number as their name, below `limit`, in order.
    async fn numbered(&self, path: &str, limit: u16) -> Result<BTreeSet<u16>, XenstoreError> {
        Ok(self.children(path).await?.iter().filter_map(|name| parse_index(name, limit)).collect())
    }

    async fn addresses(&self) -> Result<Vec<GuestAddress>, XenstoreError> {
        let names = self.children("attr").await?;
        let old: BTreeSet<u16> =
            names.iter().filter_map(|name| parse_index(name.strip_prefix("eth")?, VIFS_MAX)).collect();
        let new = self.numbered("attr/vif", VIFS_MAX).await?;
        let old = try_join_all(old.into_iter().map(|vif| self.old_style(vif)));
        let new = try_join_all(new.into_iter().map(|vif| self.new_style(vif)));
        let (old, new) = tokio::try_join!(old, new)?;
        let all: BTreeSet<GuestAddress> = old.into_iter().chain(new).flatten().collect();
        Ok(all.into_iter().take(ADDRESSES_MAX).collect())
    }

    /// `attr/vif/0/ipv4/0`, `attr/vif/0/ipv6/1`: current guest tools.
    async fn new_style(&self, vif: u16) -> Result<Vec<GuestAddress>, XenstoreError> {
        let mut found = Vec::new();
        for kind in ["ipv4", "ipv6"] {
            let list = format!("attr/vif/{vif}/{kind}");
            for index in self.numbered(&list, LIST_MAX).await? {
                found.extend(self.addresses_at(vif, &format!("{list}/{index}")).await?);
            }
        }
        Ok(found)
    }

    /// `attr/eth0/ip` and `attr/eth0/ipv6/0/addr`: older guest tools.
    async fn old_style(&self, vif: u16) -> Result<Vec<GuestAddress>, XenstoreError> {
        let mut found = self.addresses_at(vif, &format!("attr/eth{vif}/ip")).await?;
        let list = format!("attr/eth{vif}/ipv6");
        for index in self.numbered(&list, LIST_MAX).await? {
            found.extend(self.addresses_at(vif, &format!("{list}/{index}/addr")).await?);
        }
        Ok(found)
    }

    async fn addresses_at(&self, vif: u16, path: &str) -> Result<Vec<GuestAddress>, XenstoreError> {
        let value = self.value(path).await?.unwrap_or_default();
        let found = parse_addresses(&value).take(usize::from(LIST_MAX));
        Ok(found.map(|address: IpAddr| GuestAddress { vif, address }).collect())
    }

    async fn os(&self) -> Result<GuestOs, XenstoreError> {
        let [name, distro, uname] =
            self.values(["data/os_name", "data/os_distro", "data/os_uname"]).await?.map(text);
        // Windows and older Linux tools write "Microsoft Windows 10 Pro|C:\Windows|\Device\Harddisk0".
        let name = name.and_then(|name| name.split('|').next().map(|first| first.trim().to_owned()));
        Ok(GuestOs { name: name.filter(|name| !name.is_empty()), distro, uname })
    }

    async fn pv_drivers(&self) -> Result<PvDrivers, XenstoreError> {
        let parts = ["MajorVersion", "MinorVersion", "MicroVersion"]
            .map(|part| async move { self.text(&format!("attr/PVAddons/{part}")).await });
        let parts: Vec<String> = try_join_all(parts).await?.into_iter().map_while(|part| part).collect();
        let mut drivers = Vec::new();
        for index in self.numbered("drivers", LIST_MAX).await? {
            drivers.extend(self.text(&format!("drivers/{index}")).await?);
        }
        Ok(PvDrivers { version: (!parts.is_empty()).then(|| parts.join(".")), drivers })
    }

    async fn memory(&self) -> Result<GuestMemory, XenstoreError> {
        let paths = ["memory/target", "memory/static-max", "data/meminfo_free", "data/meminfo_total"];
        let [target, maximum, free, total] =
            self.values(paths).await?.map(|value| value.and_then(|value| parse_kib(&value)));
        Ok(GuestMemory { target, maximum, free, total })
    }

    async fn shutdown(&self) -> Result<ShutdownControl, XenstoreError> {
        let features = ["control/feature-poweroff", "control/feature-reboot", "control/feature-suspend"];
        let requested = self.text("control/shutdown").await?;
        let [poweroff, reboot, suspend] = self.values(features).await?.map(flag);
        Ok(ShutdownControl {
            requested,
            listens_to_poweroff: poweroff,
            listens_to_reboot: reboot,
            listens_to_suspend: suspend,
        })
    }
}

fn text(value: Option<Bytes>) -> Option<String> {
    value.and_then(|value| parse_text(&value))
}

fn flag(value: Option<Bytes>) -> bool {
    value.is_some_and(|value| parse_flag(&value))
}

/// Errors that are about the link end the reading; those about a node only mean that it says nothing.
fn no_fact<T>(error: XenstoreError) -> Result<Option<T>, XenstoreError> {
    match error {
        XenstoreError::NotFound { .. }
        | XenstoreError::Permission { .. }
        | XenstoreError::InvalidPath { .. }
        | XenstoreError::Again { .. }
        | XenstoreError::DirectoryTooLarge { .. }
        | XenstoreError::Malformed { .. } => Ok(None),
        other => Err(other),
    }
}
