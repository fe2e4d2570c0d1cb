//! A store with its daemon, and waiting for conditions.

use std::time::{Duration, Instant};

use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_xenstore::test_support::{Daemon, XenstoredFixture};
use xenith_hypervisor_agent_xenstore::{Options, Watch, WatchEvent, Xenstore};

/// Longer than anything takes on a loaded machine; reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs each of the named functions against both daemons: `nodes::values_are_bytes::oxenstored`. A name that is
/// left out here is dead code, which the lints refuse.
macro_rules! on_both_daemons {
    ($test:meta: $($name:ident),+ $(,)?) => {
        $(
            mod $name {
                use xenith_hypervisor_agent_xenstore::test_support::Daemon;

                #[$test]
                async fn xenstored() {
                    super::$name(Daemon::Xenstored).await;
                }

                #[$test]
                async fn oxenstored() {
                    super::$name(Daemon::Oxenstored).await;
                }
            }
        )+
    };
}
pub(crate) use on_both_daemons;

pub struct Lab {
    pub daemon: XenstoredFixture,
    pub store: Xenstore,
    pub tasks: TaskSet,
}

impl Lab {
    pub async fn start(daemon: Daemon) -> Self {
        Self::with(daemon, |options| options).await
    }

    pub async fn with(daemon: Daemon, change: impl FnOnce(Options) -> Options) -> Self {
        let daemon = XenstoredFixture::start_as(daemon).await;
        let tasks = TaskSet::new();
        let options = change(Options::new(daemon.endpoint()));
        let store = Xenstore::connect(options, &tasks).await.unwrap();
        Self { daemon, store, tasks }
    }

    pub async fn second_connection(&self) -> Xenstore {
        Xenstore::connect(Options::new(self.daemon.endpoint()), &self.tasks).await.unwrap()
    }
}

/// `future`, or a failure that says what did not happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

pub async fn next(watch: &mut Watch) -> WatchEvent {
    soon("a watch event", watch.next_event()).await.expect("the watch goes on")
}

pub fn changed(path: &str) -> WatchEvent {
    WatchEvent::Changed(path.into())
}

pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
