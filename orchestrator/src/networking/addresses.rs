//! By what hosts reach each other: the addresses that they have for their peers, which may be names.
//!
//! What always holds: an address that was found stays until another is found. A name server that is away takes no host out
//! of a private network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use xenith_common_ids::HostId;

/// A name is looked up again after this, one that was not found after that.
const AGAIN: Duration = Duration::from_secs(300);
const AGAIN_FAILED: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<HostId, Named>);

#[derive(Debug)]
struct Named {
    /// `host:port`, as it is recorded.
    recorded: String,
    found: Option<IpAddr>,
    again: Instant,
}

/// The address in `address:port`, unless that has a name.
fn literal(recorded: &str) -> Option<IpAddr> {
    let (host, _) = recorded.rsplit_once(':')?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The first address of `name:port`.
pub async fn look_up(recorded: &str) -> Option<IpAddr> {
    let found = timeout(PATIENCE, tokio::net::lookup_host(recorded)).await.ok()?.ok()?.next();
    found.map(|found| found.ip())
}

impl Addresses {
    /// As far as it is known. What is not is [`Self::due`].
    pub fn of(&mut self, host: HostId, recorded: &str) -> Option<IpAddr> {
        if let Some(address) = literal(recorded) {
            self.0.remove(&host);
            return Some(address);
        }
        let known = self.0.get(&host).filter(|known| known.recorded == recorded);
        if let Some(known) = known {
            return known.found;
        }
        let named = Named { recorded: recorded.to_owned(), found: None, again: Instant::now() };
        self.0.insert(host, named);
        None
    }

    pub fn forget(&mut self, host: HostId) {
        self.0.remove(&host);
    }

    /// Names to look up now.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<(HostId, String)> {
        let due = self.0.iter().filter(|(_, named)| named.again <= now);
        due.map(|(host, named)| (*host, named.recorded.clone())).collect()
    }

    /// What came of looking up a name. `Some`: the host's address is another than before.
    pub fn note(
        &mut self,
        (host, recorded): (HostId, &str),
        found: Option<IpAddr>,
        now: Instant,
    ) -> Option<IpAddr> {
        let named = self.0.get_mut(&host).filter(|named| named.recorded == recorded)?;
        named.again = now + if found.is_some() { AGAIN } else { AGAIN_FAILED };
        let is_another = found.is_some() && named.found != found;
        named.found = found.or(named.found);
        found.filter(|_| is_another)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_what_was_found_stays() {
        let (literal, named, now) = (HostId::new(), HostId::new(), Instant::now());
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut addresses = Addresses::default();
        assert_eq!(addresses.of(literal, "[fd00::1]:8444"), address("fd00::1"));
        assert_eq!(addresses.of(literal, "10.0.0.1:8444"), address("10.0.0.1"));
        assert_eq!(addresses.of(named, "xen1:8444"), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(addresses.due(later), [(named, "xen1:8444".to_owned())]);
        let mut note = |found, at| addresses.note((named, "xen1:8444"), found, at);
        assert_eq!(note(address("10.0.0.2"), later), address("10.0.0.2"));
        assert_eq!(note(address("10.0.0.2"), later), None, "that is no news");
        assert_eq!(note(None, later), None, "it was not found this time");
        assert_eq!(addresses.of(named, "xen1:8444"), address("10.0.0.2"));
        assert_eq!(addresses.due(later), []);
        assert_eq!(addresses.due(later + AGAIN_FAILED).len(), 1);
        assert_eq!(addresses.of(named, "xen2:8444"), None, "another name");
        assert_eq!(
            addresses.note((named, "xen1:8444"), address("10.0.0.3"), later),
            None,
            "of the one before"
        );
    }
}
