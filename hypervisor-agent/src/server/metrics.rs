//! Samples as a stream of messages.

use futures::stream::{self, BoxStream, StreamExt};
use tonic::Status;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_api::wire;

use crate::metrics::Subscription;

/// Never ends before `stopping`. Nothing is taken out while the connection takes no more.
pub fn stream(
    subscription: Subscription,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<wire::MetricsReply, Status>> {
    stream::unfold(subscription, |mut subscription| async move {
        let samples = subscription.next().await;
        Some((Ok(wire::MetricsReply::from(&samples)), subscription))
    })
    .take_until(stopping.cancelled_owned())
    .boxed()
}
