//! Who gets the host's free memory.
//!
//! Xen gives memory to whoever takes it first, and building a guest takes seconds to minutes. Two creates
//! that both saw 4 GiB free and both need 3 would make one fail half way. So memory is *reserved* before an
//! operation begins and the reservation counts until the domain has the memory.
//!
//! What always holds: `free - reserved >= 0` as far as we can know (foreign tools take without asking; Xen's
//! own claims, counted out of `free`, protect a build against them from its beginning). dom0 is ballooned
//! down only if the configuration allows, and never below its minimum.
//!
//! The state is the list of reservations: it is empty after a restart, as are the operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;

use crate::info::Dominfo;

/// May the control domain give memory to guests?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dom0Memory {
    /// Its size is fixed (`dom0_mem=` on Xen's command line): the recommended set-up.
    Fixed,
    /// It is ballooned down when guests need memory, never below this.
    GivesDownTo(MemoryMiB),
}

/// What a reservation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// A domain that is being built, known by its uuid as soon as it exists.
    Build(Uuid),
    /// A running domain that is growing.
    Growth(DomId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    holder: Holder,
    /// What the domain will have in the end.
    kib: u64,
}

/// The reservations. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    entries: BTreeMap<u64, Entry>,
}

/// Memory set aside, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    ledger: Ledger,
    number: u64,
}

/// How much too little there is, KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub needed: u64,
    pub available: u64,
}

/// The machine at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// Unclaimed free memory of Xen's.
    pub free_kib: u64,
    pub domains: &'a [Dominfo],
}

impl Ledger {
    /// Sets `kib` aside for a domain that will be built with this uuid.
    pub fn reserve_build(&self, uuid: Uuid, kib: u64, now: Snapshot<'_>) -> Result<Reservation, Shortage> {
        self.reserve(Entry { holder: Holder::Build(uuid), kib }, now)
    }

    /// Sets aside what `domid` still lacks to have `kib`.
    pub fn reserve_growth(&self, domid: DomId, kib: u64, now: Snapshot<'_>) -> Result<Reservation, Shortage> {
        self.reserve(Entry { holder: Holder::Growth(domid), kib }, now)
    }

    /// What the domain of a growth reservation still lacks, KiB.
    pub fn lacks(domid: DomId, kib: u64, domains: &[Dominfo]) -> u64 {
        Entry { holder: Holder::Growth(domid), kib }.outstanding(domains)
    }

    fn reserve(&self, entry: Entry, now: Snapshot<'_>) -> Result<Reservation, Shortage> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let promised: u64 = state.entries.values().map(|entry| entry.outstanding(now.domains)).sum();
        let available = now.free_kib.saturating_sub(promised);
        let needed = entry.outstanding(now.domains);
        if needed > available {
            return Err(Shortage { needed, available });
        }
        state.last += 1;
        let number = state.last;
        state.entries.insert(number, entry);
        Ok(Reservation { ledger: self.clone(), number })
    }
}

impl Entry {
    /// What is promised but not yet taken. What Xen holds as a claim for the domain is taken: it is not in
    /// the free memory any more.
    fn outstanding(&self, domains: &[Dominfo]) -> u64 {
        let domain = domains.iter().find(|info| match self.holder {
            Holder::Build(uuid) => info.uuid == uuid,
            Holder::Growth(domid) => info.domid == domid.0,
        });
        let has = match (domain, self.holder) {
            (Some(info), _) => info.current_memkb + info.outstanding_memkb,
            (None, Holder::Build(_)) => 0,
            // It ended and wants nothing more.
            (None, Holder::Growth(_)) => self.kib,
        };
        self.kib.saturating_sub(has)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.ledger.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.entries.remove(&self.number);
    }
}

impl Dom0Memory {
    /// The target in KiB to which dom0, which has `current`, must shrink so that `shortage` is covered;
    /// `None` when it must not or that would not be enough.
    pub fn shrunk(self, current: u64, shortage: Shortage) -> Option<u64> {
        let Self::GivesDownTo(minimum) = self else { return None };
        let missing = shortage.needed.saturating_sub(shortage.available);
        current.checked_sub(missing).filter(|target| *target >= minimum.kib())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(domid: u32, uuid: Uuid, current: u64, claimed: u64) -> Dominfo {
        Dominfo { domid, uuid, current_memkb: current, outstanding_memkb: claimed, ..Dominfo::default() }
    }

    #[test]
    fn of_two_creates_that_do_not_both_fit_one_is_refused() {
        let (ledger, first, second) = (Ledger::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let empty = Snapshot { free_kib: 4000, domains: &[] };
        let held = ledger.reserve_build(first, 3000, empty).unwrap();
        let shortage = ledger.reserve_build(second, 3000, empty).unwrap_err();
        assert_eq!(shortage, Shortage { needed: 3000, available: 1000 });
        drop(held);
        let _held = ledger.reserve_build(second, 3000, empty).unwrap();
    }

    #[test]
    fn memory_that_the_domain_has_is_not_counted_twice() {
        let (ledger, first, second) = (Ledger::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let _held = ledger.reserve_build(first, 3000, Snapshot { free_kib: 4000, domains: &[] }).unwrap();
        // Half built: 1000 taken, 1500 claimed, so 500 more to come out of what is free.
        let domains = [domain(1, first, 1000, 1500)];
        let half = Snapshot { free_kib: 1500, domains: &domains };
        assert_eq!(
            ledger.reserve_build(second, 1001, half).unwrap_err(),
            Shortage { needed: 1001, available: 1000 }
        );
        let _held = ledger.reserve_build(second, 1000, half).unwrap();
    }

    #[test]
    fn growth_needs_only_what_is_missing_and_ends_with_the_domain() {
        let ledger = Ledger::default();
        let domains = [domain(7, Uuid::from_u128(7), 1000, 0)];
        let now = Snapshot { free_kib: 600, domains: &domains };
        let _held = ledger.reserve_growth(DomId(7), 1500, now).unwrap();
        let other = Uuid::from_u128(1);
        assert_eq!(ledger.reserve_build(other, 200, now).unwrap_err().available, 100);
        let _held = ledger.reserve_build(other, 600, Snapshot { free_kib: 600, domains: &[] }).unwrap();
    }

    #[test]
    fn dom0_gives_only_what_it_may() {
        let shortage = Shortage { needed: 3 << 20, available: 1 << 20 };
        let minimum = |mib| Dom0Memory::GivesDownTo(MemoryMiB::new(mib).unwrap());
        for (name, policy, current, expected) in [
            ("fixed", Dom0Memory::Fixed, 8 << 20, None),
            ("enough", minimum(1024), 8 << 20, Some(6 << 20)),
            ("exactly its minimum", minimum(6 * 1024), 8 << 20, Some(6 << 20)),
            ("below its minimum", minimum(6 * 1024 + 1), 8 << 20, None),
            ("less than is missing", minimum(0), 1 << 20, None),
        ] {
            assert_eq!(policy.shrunk(current, shortage), expected, "{name}");
        }
    }
}
