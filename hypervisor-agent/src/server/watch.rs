//! A subscription as a stream of messages, with heartbeats.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::Status;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_api::wire;

use crate::vm::publisher::Subscription;

/// How long the stream is silent at most. The orchestrator calls a host lost after a few of these.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Never ends before `stopping`.
pub fn stream(
    subscription: Subscription,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<wire::WatchReply, Status>> {
    stream::unfold(subscription, |mut subscription| async move {
        let changes = match tokio::time::timeout(HEARTBEAT, subscription.next()).await {
            Ok(changes) => changes,
            Err(_) => subscription.now(),
        };
        Some((Ok(wire::WatchReply::from(&changes)), subscription))
    })
    .take_until(stopping.cancelled_owned())
    .boxed()
}
