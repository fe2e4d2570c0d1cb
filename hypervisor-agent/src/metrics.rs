//! What this host counts, sampled every few seconds and kept for a minute.
//!
//! What always holds: at most [`KEPT`] samples are kept, whoever reads or does not; a reader keeps the number that it
//! has seen and takes what came since, so a slow one misses the oldest and costs no memory. A connection that was
//! gone for less than a minute therefore loses nothing, and one that was gone for longer loses how things were in
//! between but not how much: counters are told, not rates.
//!
//! A sample is one list of domains and some files for each device. It is taken whether or not somebody listens, so
//! that who comes back finds what it missed. On a crash the samples are gone; the counters are not, for they are
//! Xen's and the kernel's.

mod sampler;
mod sys;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;
use xenith_hypervisor_agent_api::Samples;
use xenith_hypervisor_agent_types::metrics::Sample;

pub use sampler::Sampler;
pub use sys::SysMeters;

/// A minute and one more.
const KEPT: usize = 13;

/// Shared by the sampler (which writes) and the streams (which read).
#[derive(Debug)]
pub struct Recorder {
    instance: String,
    kept: Mutex<VecDeque<Sample>>,
    newest: watch::Sender<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        let instance = Uuid::new_v4().simple().to_string();
        Self { instance, kept: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Recorder {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers come in order, from 1.
    pub fn record(&self, sample: Sample) {
        let number = sample.number;
        let mut kept = self.kept();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(sample);
        drop(kept);
        self.newest.send_replace(number);
    }

    /// What came after `number` of the run `instance`; of another run, from the newest on.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, instance: &str, number: u64) -> Subscription {
        let mut newest = self.newest.subscribe();
        let seen =
            if instance == self.instance { number } else { newest.borrow_and_update().saturating_sub(1) };
        Subscription { recorder: Arc::clone(self), seen, newest }
    }
}

/// One reader's place.
#[derive(Debug)]
pub struct Subscription {
    recorder: Arc<Recorder>,
    seen: u64,
    newest: watch::Receiver<u64>,
}

impl Subscription {
    /// Waits for a sample that was not told yet, and tells all of them. Safe to drop while it waits.
    pub async fn next(&mut self) -> Samples {
        loop {
            if *self.newest.borrow_and_update() > self.seen {
                let kept = self.recorder.kept();
                let samples: Vec<Sample> =
                    kept.iter().filter(|sample| sample.number > self.seen).cloned().collect();
                self.seen = samples.last().map_or(self.seen, |sample| sample.number);
                return Samples { instance: self.recorder.instance.clone(), samples };
            }
            // An error says that the recorder is gone; it is not, we hold it.
            if self.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use xenith_hypervisor_agent_types::metrics::HostSample;

    use super::*;

    fn sample(number: u64) -> Sample {
        let host = HostSample {
            cpus: 1,
            busy_ns: 0,
            dom0_cpu_time_ns: 0,
            memory_total: Default::default(),
            memory_free: Default::default(),
            dom0_memory: Default::default(),
            dom0_memory_available: None,
            load: None,
            energy_uj: None,
            disk: None,
            nic: None,
        };
        Sample { number, clock_ms: number * 5000, host, vms: Vec::new() }
    }

    fn numbers(samples: &Samples) -> Vec<u64> {
        samples.samples.iter().map(|sample| sample.number).collect()
    }

    #[tokio::test]
    async fn a_reader_gets_what_it_missed_and_never_more_than_is_kept() {
        let recorder = Arc::new(Recorder::default());
        (1..=3).for_each(|number| recorder.record(sample(number)));
        let mut fresh = recorder.subscribe("", 0);
        assert_eq!(numbers(&fresh.next().await), [3]);
        assert!(fresh.next().now_or_never().is_none());
        let instance = recorder.instance.clone();
        let mut again = recorder.subscribe(&instance, 1);
        assert_eq!(numbers(&again.next().await), [2, 3]);
        (4..=40).for_each(|number| recorder.record(sample(number)));
        assert_eq!(numbers(&fresh.next().await), (28..=40).collect::<Vec<_>>());
        let mut stranger = recorder.subscribe("another run", 39);
        assert_eq!(numbers(&stranger.next().await), [40]);
    }
}
