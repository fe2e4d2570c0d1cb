//! Which generation of WireGuard's keys the hosts of a pool use, and when the next one comes. Pure.
//!
//! ```text
//!  [g] --due--> [g, g+1] --every host has everybody's key of g+1--> [g, g+1], sent by g+1 --every host sends by it--> [g+1]
//! ```
//!
//! What always holds: nobody is told to send by a generation before all that take part were told everybody's keys of it,
//! and none is taken away before all were told to send by the next one. So a host that is not heard holds up the next
//! generation, and nothing is cut. What hosts were told is stored: an orchestrator that starts anew takes no key away.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xenith_hypervisor_agent_types::mesh::{Mesh, RealisedMesh, WireGuardKey};

/// Seconds after which keys are renewed.
pub const RENEWED_AFTER: u64 = 30 * 86_400;
const FIRST: u64 = 1;

/// What is known of the keys of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostKeys {
    /// By generation.
    pub keys: BTreeMap<u64, HostKey>,
    /// The last generation of which it was told everybody's key.
    pub complete: u64,
    /// The last generation that it was told to send by.
    pub switched: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    pub key: WireGuardKey,
    /// When it was heard of first, in seconds since 1970.
    pub since: u64,
}

impl HostKeys {
    /// What is known after a host has carried out what it was told.
    #[must_use]
    pub fn after(before: Option<&Self>, told: &Mesh, realised: &RealisedMesh, now: u64) -> Self {
        let since = |generation: &u64, key: &WireGuardKey| {
            let known = before.and_then(|before| before.keys.get(generation));
            known.filter(|known| known.key == *key).map_or(now, |known| known.since)
        };
        let of = |(generation, key): (&u64, &WireGuardKey)| {
            (*generation, HostKey { key: key.clone(), since: since(generation, key) })
        };
        let before_it = before.map_or((0, 0), |before| (before.complete, before.switched));
        let (complete, switched) = match realised.problem {
            None => (complete(told).unwrap_or(before_it.0), told.active),
            Some(_) => before_it,
        };
        Self { keys: realised.keys.iter().map(of).collect(), complete, switched }
    }
}

/// The last generation with a key of each host that has any.
fn complete(told: &Mesh) -> Option<u64> {
    let all: BTreeSet<_> =
        told.generations.iter().flat_map(|one| &one.peers).map(|peer| peer.address).collect();
    let whole = told.generations.iter().filter(|one| one.peers.len() == all.len());
    whole.map(|one| one.number).max()
}

/// What the hosts of a pool are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub active: u64,
    pub offered: Vec<u64>,
}

impl Rotation {
    /// By what is known of those that have keys.
    pub fn of<'a>(hosts: impl Iterator<Item = &'a HostKeys>, now: u64) -> Self {
        let told: Vec<&HostKeys> = hosts.filter(|keys| keys.complete > 0).collect();
        let Some(active) = told.iter().map(|keys| keys.complete).min() else {
            return Self { active: FIRST, offered: vec![FIRST] };
        };
        let since = told.iter().filter_map(|keys| keys.keys.get(&active)).map(|key| key.since).min();
        let offered = if told.iter().any(|keys| keys.switched < active) {
            // Those that have never sent by another begin with it.
            if active > FIRST { vec![active - 1, active] } else { vec![active] }
        } else if told.iter().any(|keys| keys.complete > active)
            || since.is_some_and(|since| since + RENEWED_AFTER <= now)
        {
            vec![active, active + 1]
        } else {
            vec![active]
        };
        Self { active, offered }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use xenith_common_ids::HostId;
    use xenith_hypervisor_agent_types::mesh::{MeshGeneration, MeshPeer, mesh_address};

    use super::*;

    /// Hosts that make a key for each generation that they are told of, when they are told.
    #[derive(Default)]
    struct Pool {
        known: BTreeMap<u8, HostKeys>,
        told: BTreeMap<u8, Mesh>,
    }

    fn key(host: u8, generation: u64) -> WireGuardKey {
        let name = format!("{host}k{generation}");
        format!("{name:0>43}=").parse().unwrap()
    }

    impl Pool {
        fn wanted(&self, host: u8, now: u64) -> Mesh {
            let rotation = Rotation::of(self.known.values(), now);
            let generation = |number: &u64| {
                let others = self.known.iter().filter(|(other, _)| **other != host);
                let peer = |(other, keys): (&u8, &HostKeys)| {
                    let key = keys.keys.get(number)?.key.clone();
                    let address = mesh_address(HostId::from_bytes([*other; 16]));
                    Some(MeshPeer { key, endpoint: IpAddr::from(Ipv4Addr::LOCALHOST), address })
                };
                MeshGeneration { number: *number, peers: others.filter_map(peer).collect() }
            };
            Mesh {
                address: mesh_address(HostId::from_bytes([host; 16])),
                active: rotation.active,
                generations: rotation.offered.iter().map(generation).collect(),
            }
        }

        fn tell(&mut self, host: u8, now: u64) {
            let mesh = self.wanted(host, now);
            let keys = mesh.generations.iter().map(|one| (one.number, key(host, one.number))).collect();
            let realised = RealisedMesh { keys, problem: None };
            let after = HostKeys::after(self.known.get(&host), &mesh, &realised, now);
            self.known.insert(host, after);
            self.told.insert(host, mesh);
        }

        /// By what `from` was told it sends to `to` with a key, which `to` has to be there for and to know `from` by.
        fn passes(&self, from: u8, to: u8) -> bool {
            let (sender, receiver) = (&self.told[&from], &self.told[&to]);
            let has = |mesh: &Mesh, generation: u64, other: &Mesh| {
                let one = mesh.generations.iter().find(|one| one.number == generation);
                one.is_some_and(|one| one.peers.iter().any(|peer| peer.address == other.address))
            };
            let by_other =
                sender.generations.iter().map(|one| one.number).filter(|one| *one != sender.active);
            let mut ways = std::iter::once(sender.active).chain(by_other);
            let by = ways.find(|generation| has(sender, *generation, receiver));
            by.is_some_and(|generation| has(receiver, generation, sender))
        }

        fn all_pass(&self, hosts: &[u8]) -> bool {
            hosts.iter().all(|from| hosts.iter().all(|to| from == to || self.passes(*from, *to)))
        }
    }

    #[test]
    fn keys_are_renewed_one_host_after_the_other_and_nothing_is_cut() {
        let mut pool = Pool::default();
        let hosts = [1, 2, 3];
        for host in hosts.into_iter().cycle().take(6) {
            pool.tell(host, 0);
        }
        assert!(pool.all_pass(&hosts));
        assert_eq!(pool.wanted(1, 0).generations.len(), 1);

        let later = RENEWED_AFTER;
        for (turn, host) in hosts.into_iter().cycle().take(24).enumerate() {
            pool.tell(host, later);
            assert!(pool.all_pass(&hosts), "turn {turn}: {:?}", pool.told);
            assert!(pool.told[&host].generations.len() <= 2);
        }
        let now = pool.wanted(1, later);
        assert_eq!((now.active, now.generations.len()), (2, 1), "{now:?}");
    }

    #[test]
    fn a_host_that_is_not_heard_holds_up_the_next_keys_and_one_that_comes_later_does_not() {
        let mut pool = Pool::default();
        for host in [1, 2, 3].into_iter().cycle().take(6) {
            pool.tell(host, 0);
        }
        for host in [1, 2].into_iter().cycle().take(20) {
            pool.tell(host, RENEWED_AFTER);
            assert!(pool.all_pass(&[1, 2, 3]), "the third has what it had");
        }
        assert_eq!(pool.wanted(1, RENEWED_AFTER).active, 1);
        for host in [4, 1, 2, 3].into_iter().cycle().take(40) {
            pool.tell(host, RENEWED_AFTER);
        }
        assert!(pool.all_pass(&[1, 2, 3, 4]));
        assert_eq!(pool.wanted(4, RENEWED_AFTER).active, 2);
    }

    #[test]
    fn a_host_that_could_not_is_where_it_was() {
        let told =
            Mesh { address: mesh_address(HostId::from_bytes([1; 16])), active: 2, generations: vec![] };
        let before = HostKeys { complete: 1, switched: 1, ..HostKeys::default() };
        let realised = RealisedMesh { problem: Some("no module".to_owned()), ..RealisedMesh::default() };
        assert_eq!(HostKeys::after(Some(&before), &told, &realised, 0), before);
    }
}
