//! Follows what one host counts, beside what it is: a stream of its own on the same connection, so that a long list
//! of samples never holds up the news of a VM.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use xenith_common_ids::HostId;
use xenith_common_tasks::{Backoff, CancellationToken};
use xenith_hypervisor_agent_client::{AgentClient, AgentClientError};
use xenith_orchestrator_metrics::HostRates;

use super::{Fleet, HostState};

/// A host that is heard samples every five seconds; one that says nothing for so long is asked again.
const SILENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    pub host: HostId,
    pub client: AgentClient,
    pub state: Arc<HostState>,
    pub fleet: Arc<Fleet>,
}

impl Follower {
    pub async fn run(self, token: CancellationToken) {
        tokio::select! {
            () = token.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let seed = u64::from_be_bytes(self.host.as_bytes()[8..].try_into().unwrap_or_default());
        let mut backoff = Backoff::new(LOOK, Duration::from_secs(60), seed);
        let mut rates = HostRates::new(self.host);
        let mut seen = (String::new(), 0);
        loop {
            // Who is there is the watcher's to find out.
            while !self.state.is_heard() {
                tokio::time::sleep(LOOK).await;
            }
            let error = self.listen(&mut rates, &mut seen, &mut backoff).await;
            tracing::debug!(host = %self.host, ?error, "the host's samples are not heard");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Until the stream ends. An agent of an earlier version has none.
    async fn listen(
        &self,
        rates: &mut HostRates,
        seen: &mut (String, u64),
        backoff: &mut Backoff,
    ) -> Option<AgentClientError> {
        // It waits for samples nearly always: the call takes room while it is made.
        let stream = match Box::pin(self.client.metrics(&seen.0, seen.1)).await {
            Ok(stream) => stream,
            Err(error) => return Some(error),
        };
        tokio::pin!(stream);
        loop {
            let samples = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(samples))) => samples,
                Ok(Some(Err(error))) => return Some(error),
                Ok(None) | Err(_) => return None,
            };
            backoff.reset();
            if let Some(last) = samples.samples.last() {
                *seen = (samples.instance.clone(), last.number);
            }
            let is_elsewhere = |vm| self.fleet.is_elsewhere(vm, self.host);
            self.fleet.metering.take(rates, samples, is_elsewhere);
        }
    }
}
