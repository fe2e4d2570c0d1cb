//! Which SRs do not answer.
//!
//! A server that is away keeps whoever asks for its SR waiting, for as long as it is away: such a call cannot be ended.
//! So an SR that owes an answer for too long is not asked again, and the calls that wait for it stay few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_ids::SrId;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

/// A healthy SR with thousands of VDIs is read in a second or two.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    asked: HashMap<u64, (SrId, Instant)>,
}

/// All clones are one table.
#[derive(Debug, Clone, Default)]
pub struct Answering(Arc<Mutex<Table>>);

/// A question; answered when dropped.
#[derive(Debug)]
pub struct Question {
    answering: Answering,
    number: u64,
}

impl Answering {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before an SR is asked for something.
    pub fn ask(&self, sr: SrId) -> Result<Question, Fault> {
        self.ask_within(sr, PATIENCE)
    }

    fn ask_within(&self, sr: SrId, patience: Duration) -> Result<Question, Fault> {
        let mut table = self.lock();
        let oldest = table.asked.values().filter(|(asked, _)| *asked == sr).map(|(_, since)| *since).min();
        if let Some(waiting) = oldest.map(|since| since.elapsed())
            && waiting >= patience
        {
            let seconds = waiting.as_secs();
            let message = format_args!(
                "SR {sr} has not answered for {seconds} s; see whether its disk or its server is there, it goes on by \
                 itself then"
            );
            return Err(Fault::new(FaultReason::NotReady, message));
        }
        let number = table.next;
        table.next += 1;
        table.asked.insert(number, (sr, Instant::now()));
        Ok(Question { answering: self.clone(), number })
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.answering.lock().asked.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sr_that_owes_an_answer_is_not_asked_again() {
        let answering = Answering::default();
        let (silent, other) = (SrId::new(), SrId::new());
        let first = answering.ask(silent).unwrap();
        // Asked at the same time by two is no silence.
        drop(answering.ask(silent).unwrap());
        let fault = answering.ask_within(silent, Duration::ZERO).unwrap_err();
        assert_eq!(fault.reason, FaultReason::NotReady);
        assert!(fault.message.contains("has not answered"), "{fault}");
        drop(answering.ask_within(other, Duration::ZERO).unwrap());
        drop(first);
        drop(answering.ask_within(silent, Duration::ZERO).unwrap());
    }
}
