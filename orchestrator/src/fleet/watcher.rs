//! One task per host: connect, greet, listen, and again with backoff.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use time::OffsetDateTime;
use xenith_common_ids::{Epoch, Generation, HostId};
use xenith_common_pki::PeerCertificate;
use xenith_common_tasks::{Backoff, CancellationToken};
use xenith_hypervisor_agent_client::{AgentAddress, AgentClient, AgentClientError, SILENCE};

use super::metrics::Follower;
use super::{Fleet, FleetEvent, HostState, Link, Member};
use crate::model::HostRecord;

/// How long a host may be out of reach before it is unknown: one lost connection that comes back at once is
/// no news. Together with [`SILENCE`] under the 15 s that are promised.
const GRACE: Duration = Duration::from_secs(4);

/// Renews the certificates of hosts; implemented by who holds the authority.
#[async_trait]
pub trait Renewal: Send + Sync + 'static {
    /// `Err` is the reason to refuse a certificate that is otherwise valid.
    fn check(&self, certificate: &PeerCertificate) -> Result<(), String>;

    /// Renews when it is time; called after each greeting and every hour.
    async fn renew_if_due(&self, host: HostId, client: &AgentClient, epoch: Epoch);
}

impl Fleet {
    /// Starts watching a host. Watching it already is fine; a new address takes effect.
    pub fn watch(self: &Arc<Self>, host: HostId, record: &HostRecord) {
        self.remove_member(host);
        let client = self.client_at(host, &record.address);
        let state = Arc::new(HostState::default());
        let tasks = self.tasks.child();
        let member = Member { client: client.clone(), state: Arc::clone(&state), tasks: tasks.clone() };
        self.members.write().unwrap_or_else(PoisonError::into_inner).insert(host, member);
        let (of, fleet) = (Arc::clone(&state), Arc::clone(self));
        let follower = Follower { host, client: client.clone(), state: of, fleet };
        tasks.spawn("metrics-watcher", follower.run(tasks.token()));
        let watcher =
            Watcher { fleet: Arc::clone(self), host, client, state, seen: (String::new(), Generation(0)) };
        tasks.spawn("host-watcher", watcher.run(tasks.token()));
        // What was heard before is forgotten.
        self.changes.note(|changed| changed.domains.extend([host]));
    }

    /// A client of a host at another address, perhaps, than the one that it is watched at.
    #[must_use]
    pub fn client_at(&self, host: HostId, address: &str) -> AgentClient {
        let renewal = Arc::clone(&self.renewal);
        self.tasks.inside(|| {
            AgentClient::connect(
                AgentAddress { host, address: address.to_owned() },
                Arc::clone(&self.tls),
                Arc::new(move |certificate| renewal.check(certificate)),
            )
        })
    }

    fn remove_member(&self, host: HostId) {
        let member = self.members.write().unwrap_or_else(PoisonError::into_inner).remove(&host);
        if let Some(member) = member {
            member.tasks.cancel();
        }
    }
}

struct Watcher {
    fleet: Arc<Fleet>,
    host: HostId,
    client: AgentClient,
    state: Arc<HostState>,
    /// The agent's run and the generation that was heard last.
    seen: (String, Generation),
}

impl Watcher {
    async fn run(mut self, token: CancellationToken) {
        let seed = u64::from_be_bytes(self.host.as_bytes()[8..].try_into().unwrap_or_default());
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10), seed);
        let mut silent_since = tokio::time::Instant::now();
        loop {
            let error = tokio::select! {
                () = token.cancelled() => return,
                error = self.listen(&mut backoff, &mut silent_since) => error,
            };
            tracing::debug!(host = %self.host, %error, "the host is not heard");
            // What cannot pass by itself is said at once.
            if silent_since.elapsed() >= GRACE || !error.is_retryable() {
                self.lost(&error);
            }
            let delay = backoff.next_delay();
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    fn lost(&self, error: &AgentClientError) {
        if self.state.set_link(Link::Lost { why: error.to_string() }) {
            tracing::warn!(host = %self.host, %error, "the host is lost");
            self.note_link();
            self.fleet.emit(FleetEvent::Link { host: self.host });
        }
    }

    fn note_link(&self) {
        self.fleet.changes.note(|changed| changed.links.extend([self.host]));
        self.fleet.changes.wake_all();
    }

    /// Listens until the connection ends, and says why it did.
    async fn listen(
        &mut self,
        backoff: &mut Backoff,
        silent_since: &mut tokio::time::Instant,
    ) -> AgentClientError {
        let unreachable = |detail: &str| AgentClientError::Unreachable {
            address: self.host.to_string(),
            detail: detail.to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        // It waits for news nearly always, and there is one for each host: calls take room while they are made.
        let greeting = Box::pin(self.client.hello(self.fleet.epoch, version));
        let greeting = tokio::time::timeout(SILENCE, greeting);
        let hello = match greeting.await {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => return error,
            Err(_) => return unreachable("it does not answer"),
        };
        Box::pin(self.note_sr(hello.local_sr)).await;
        self.state.greet(hello.agent_version, hello.local_sr, hello.facts);
        let stream = match Box::pin(self.client.watch(&self.seen.0, self.seen.1)).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        tokio::pin!(stream);
        let mut had_list = false;
        let mut next_renewal = tokio::time::Instant::now();
        loop {
            let changes = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(changes))) => changes,
                Ok(Some(Err(error))) => return error,
                Ok(None) => return unreachable("it closed the connection"),
                Err(_) => return unreachable("it is silent"),
            };
            self.seen = (changes.instance.clone(), changes.generation);
            let is_list = changes.full;
            self.apply(changes);
            backoff.reset();
            *silent_since = tokio::time::Instant::now();
            if tokio::time::Instant::now() >= next_renewal {
                next_renewal = tokio::time::Instant::now() + Duration::from_secs(3600);
                self.fleet.renewal.renew_if_due(self.host, &self.client, self.fleet.epoch).await;
            }
            // A stream keeps room for its largest message for as long as it lives, and that is the list: some 40 KiB for a
            // hundred VMs. What comes behind it is a tenth of that, and goes on in a stream of its own. Once: an agent that
            // tells nothing but lists is not asked for them without end.
            if is_list && !had_list {
                had_list = true;
                let rest = Box::pin(self.client.watch(&self.seen.0, self.seen.1));
                match tokio::time::timeout(SILENCE, rest).await {
                    Ok(Ok(rest)) => stream.set(rest),
                    Ok(Err(error)) => return error,
                    Err(_) => return unreachable("it is silent"),
                }
            }
        }
    }

    /// Remembers the local SR, which placement needs while the host is away.
    async fn note_sr(&self, sr: xenith_common_ids::SrId) {
        let hosts = &self.fleet.db.hosts;
        let result = match hosts.get(&self.host).await {
            Ok(Some(record)) if record.value.local_sr != Some(sr) => {
                hosts.modify(&self.host, |record| record.local_sr = Some(sr)).await.map(|_| ())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(host = %self.host, %error, "the host's SR could not be noted");
        }
    }

    fn apply(&self, changes: xenith_hypervisor_agent_api::Changes) {
        let host_news = changes.full || changes.host.is_some();
        let news = self.state.apply(changes);
        let first = self.state.set_link(Link::Connected);
        if !news.changed.is_empty() || !news.gone.is_empty() {
            self.fleet.place(self.host, &news.changed, &news.gone);
        }
        let count = news.changed.len() + news.gone.len() + news.ran;
        self.fleet.heard.fetch_add(count as u64, Ordering::Relaxed);
        let vms = || news.changed.iter().map(|vm| vm.vm).chain(news.gone.iter().copied());
        if count > news.ran || host_news {
            self.fleet.changes.note(|changed| {
                changed.vms.extend(vms());
                if host_news || news.others {
                    changed.hosts.insert(self.host);
                }
                if news.domains {
                    changed.domains.insert(self.host);
                }
            });
            self.fleet.changes.wake(vms());
        }
        if first {
            self.note_link();
            tracing::info!(host = %self.host, at = %OffsetDateTime::now_utc(), "the host is heard");
            self.fleet.emit(FleetEvent::Link { host: self.host });
        }
        for vm in news.gone {
            self.fleet.emit(FleetEvent::VmGone { host: self.host, vm });
        }
        for vm in news.changed {
            self.fleet.emit(FleetEvent::Vm { host: self.host, vm });
        }
        if host_news {
            self.fleet.emit(FleetEvent::Host { host: self.host });
        }
    }
}
