//! SRs come and go, and VDIs are found in them.
//!
//! What always holds: an SR is attached or detached by one call at a time. Who detaches one takes it out of the table
//! before asking whether somebody uses it, and who uses something of it says so before looking it up: of the two, at
//! least one sees the other. An SR whose server is away holds up nobody who wants something of another one.
//!
//! An SR has one driver at a time. What a driver keeps of its SR in memory (who changes its leases now) another one does not
//! know, so an SR that was detached is not attached before the last call in it has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_api::MakeSr;
use xenith_hypervisor_agent_storage::{Sharing, StorageDriver, StorageError};
use xenith_hypervisor_agent_types::{Fault, FaultReason, SrFacts};

use super::attached::{AttachedSr, Attachments};
use super::storage::{Result, Storage};

/// How long the start of the agent waits for an SR. One that is away is attached behind its back, or when asked for.
const START_WITHIN: Duration = Duration::from_secs(10);

/// What was asked of an SR that answers has ended long before. Whoever attaches one waits for that.
const CALLS_END_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// SRs that come and go. All clones are one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Turning(Arc<Mutex<Turns>>);

#[derive(Debug, Default)]
struct Turns {
    /// Are being attached or detached.
    now: BTreeSet<SrId>,
    /// Were detached. A call that hangs has the driver still.
    left: BTreeMap<SrId, Weak<dyn StorageDriver>>,
}

struct Turn {
    turning: Turning,
    sr: SrId,
}

impl Turning {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, sr: SrId) -> Result<Turn> {
        if !self.lock().now.insert(sr) {
            let message = format_args!(
                "SR {sr} is being attached or detached; if that does not end, see whether its server is there"
            );
            return Err(Fault::new(FaultReason::NotReady, message));
        }
        Ok(Turn { turning: self.clone(), sr })
    }

    /// Whose turn it is.
    fn note_left(&self, driver: &Arc<dyn StorageDriver>) {
        self.lock().left.insert(driver.sr(), Arc::downgrade(driver));
    }

    /// Refuses an SR in which a call does not end that was begun before it was detached.
    fn let_go_of(&self, sr: SrId) -> Result<()> {
        let since = Instant::now();
        while self.lock().left.get(&sr).is_some_and(|driver| driver.strong_count() > 0) {
            if since.elapsed() < CALLS_END_WITHIN {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let message = format_args!(
                "SR {sr} was detached, and something that was asked of it before has not ended; see whether its disk or \
                 its server is there, and try again"
            );
            return Err(Fault::new(FaultReason::NotReady, message));
        }
        self.lock().left.remove(&sr);
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turning.lock().now.remove(&self.sr);
    }
}

impl Storage {
    /// Attaches what was attached before, and remembers what is attached from now on.
    pub fn remember(&mut self, attachments: Attachments) {
        for attached in attachments.load() {
            self.attach_at_start(&attachments, attached);
        }
        self.attachments = Some(attachments);
    }

    /// On a thread of its own: a server that is away holds up its SR, and not the agent.
    fn attach_at_start(&self, attachments: &Attachments, attached: AttachedSr) {
        let (storage, attachments, sr) = (self.clone(), attachments.clone(), attached.sr);
        let (done, answer) = mpsc::channel();
        let attach = move || {
            let result = storage.turning.begin(sr).and_then(|_turn| {
                storage.put(attachments.attach(&attached)?);
                Ok(())
            });
            if let Err(fault) = result {
                tracing::error!(%sr, %fault, "an SR cannot be attached");
            }
            // Nobody waits any more where it took long.
            let _nobody_waits = done.send(());
        };
        // It ends when the server answers: nothing ends a call that waits for one.
        if let Err(error) = std::thread::Builder::new().name("attach".to_owned()).spawn(attach) {
            return tracing::error!(%sr, %error, "an SR cannot be attached");
        }
        if answer.recv_timeout(START_WITHIN).is_err() {
            tracing::error!(%sr, "an SR does not answer; the agent starts without it");
        }
    }

    fn attachments(&self) -> Result<&Attachments> {
        self.attachments.as_ref().ok_or_else(|| Fault::new(FaultReason::NotReady, "the agent is starting"))
    }

    /// Where the folder of an SR is, which is mounted for that where it has to be.
    pub fn folder_of(&self, sr: SrId) -> Result<PathBuf> {
        let attachments = self.attachments()?;
        let attached = attachments.get(sr).ok_or(StorageError::OtherSr(sr))?;
        attachments.folder_of(&attached)
    }

    fn put(&self, driver: Arc<dyn StorageDriver>) {
        self.drivers.write().unwrap_or_else(PoisonError::into_inner).insert(driver.sr(), driver);
    }

    /// Makes an SR usable here, now and after a restart of the agent.
    pub fn attach(&self, attached: &AttachedSr, make: MakeSr) -> Result<SrFacts> {
        let attachments = self.attachments()?;
        {
            let _turn = self.turning.begin(attached.sr)?;
            if let Some(before) = attachments.get(attached.sr)
                && before.spec != attached.spec
            {
                let message = format_args!("SR {} is attached already, from {}", attached.sr, before.spec);
                return Err(Fault::new(FaultReason::WrongState, message));
            }
            if self.driver(attached.sr).is_err() {
                self.turning.let_go_of(attached.sr)?;
                if make == MakeSr::New {
                    attachments.make(attached)?;
                }
                let driver = attachments.attach(attached)?;
                attachments.remember(attached)?;
                self.put(driver);
            }
        }
        self.scan(attached.sr)
    }

    /// Lets go of an SR. What is in it stays.
    pub fn detach(&self, sr: SrId) -> Result<()> {
        let attachments = self.attachments()?;
        if sr == self.local {
            let message = "the local SR belongs to its host; remove the host instead";
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        let _turn = self.turning.begin(sr)?;
        let driver = self.drivers.write().unwrap_or_else(PoisonError::into_inner).remove(&sr);
        let Some(driver) = driver else {
            attachments.unmount(sr)?;
            return attachments.forget(sr);
        };
        let gone = self.unused(&*driver).and_then(|()| {
            self.leave_leases(&*driver);
            attachments.unmount(sr)
        });
        match gone {
            Ok(()) => {
                self.turning.note_left(&driver);
                attachments.forget(sr)
            }
            Err(fault) => {
                self.put(driver);
                Err(fault)
            }
        }
    }

    /// Refuses an SR that somebody uses. It is out of the table.
    fn unused(&self, driver: &dyn StorageDriver) -> Result<()> {
        let sr = driver.sr();
        let here = |vdi| match driver.facts(vdi) {
            Ok(_) => true,
            Err(StorageError::NotFound { .. }) => false,
            // What cannot be looked at may well be there, unless another SR has it.
            Err(_) => self.find(vdi).is_err(),
        };
        if let Some(vm) = self.in_use.any(here) {
            let message = format_args!("VM {vm} has a disk in SR {sr}; stop it or detach the disk first");
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        if let Some(vdi) = self.busy.any_in(sr, here) {
            let message = format_args!("VDI {vdi} in SR {sr} is being worked on; wait until that is done");
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        Ok(())
    }

    /// Takes an SR back that was made for nothing: detaches it, and where it is empty it is an SR no more.
    pub fn unmake(&self, sr: SrId) -> Result<()> {
        let attached = self.attachments()?.get(sr);
        if let (Some(attached), Ok(driver)) = (attached, self.driver(sr)) {
            match driver.list() {
                Ok(listing) if listing.vdis.is_empty() && listing.damaged.is_empty() => {
                    self.attachments()?.unmake(&attached)?;
                }
                // It is an SR no more, by a call before this one.
                Ok(_) | Err(StorageError::Unsupported(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.detach(sr)
    }

    /// What is in an SR. One that could not be attached before is tried again.
    pub fn scan(&self, sr: SrId) -> Result<SrFacts> {
        let _question = self.answering.ask(sr)?;
        if self.driver(sr).is_err() {
            let _turn = self.turning.begin(sr)?;
            // Detached, or attached by somebody else, before it was our turn.
            if self.driver(sr).is_err()
                && let Some(attached) = self.attachments()?.get(sr)
            {
                self.turning.let_go_of(sr)?;
                self.put(self.attachments()?.attach(&attached)?);
            }
        }
        let driver = self.driver(sr)?;
        let listing = driver.list()?;
        Ok(SrFacts {
            sr,
            copy_on_write: driver.sharing() == Sharing::CopyOnWrite,
            space: driver.space()?,
            vdis: listing.vdis,
            left_overs: listing.left_overs,
            damaged: listing.damaged,
        })
    }

    /// The SR that has the VDI. Where it was last is looked first, then in the host's own SR: neither waits for the
    /// server of another one.
    pub fn find(&self, vdi: VdiId) -> Result<Arc<dyn StorageDriver>> {
        let last = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&vdi).copied();
        let mut srs = self.srs();
        srs.sort_by_key(|sr| (Some(*sr) != last, *sr != self.local));
        let mut unanswered = None;
        for sr in srs {
            // Detached meanwhile.
            let Ok(driver) = self.driver(sr) else { continue };
            match driver.facts(vdi) {
                Ok(_) => {
                    self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(vdi, sr);
                    return Ok(driver);
                }
                Err(StorageError::NotFound { .. }) => {}
                // Whatever is wrong with it: it is there.
                Err(error @ StorageError::Damaged { .. }) => return Err(error.into()),
                Err(error) => unanswered = unanswered.or(Some(error)),
            }
        }
        Err(unanswered.map_or_else(
            || Fault::new(FaultReason::NotFound, format_args!("VDI {vdi} is not on this host")),
            Fault::from,
        ))
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_storage::file::FileDriver;
    use xenith_hypervisor_agent_types::SrSpec;

    use super::*;
    use crate::disk::InUse;

    #[test]
    fn an_sr_is_not_attached_beside_a_call_that_hangs_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let own = FileDriver::open(SrId::new(), folder.path().to_owned());
        let mut storage = Storage::new(Arc::new(own), InUse::default());
        storage.remember(Attachments::open(folder.path(), folder.path()).unwrap());
        let path = folder.path().join("nas").to_str().unwrap().to_owned();
        let nas = AttachedSr { sr: SrId::new(), spec: SrSpec::Folder { path } };
        storage.attach(&nas, MakeSr::New).unwrap();
        // What a call has for as long as it waits.
        let hangs = storage.driver(nas.sr).unwrap();
        storage.detach(nas.sr).unwrap();
        let fault = storage.attach(&nas, MakeSr::MustExist).unwrap_err();
        assert_eq!(fault.reason, FaultReason::NotReady, "{fault}");
        assert!(fault.message.contains("has not ended"), "{fault}");
        assert!(storage.driver(nas.sr).is_err());
        drop(hangs);
        storage.attach(&nas, MakeSr::MustExist).unwrap();
        storage.detach(nas.sr).unwrap();
        storage.attach(&nas, MakeSr::MustExist).unwrap();
    }
}
