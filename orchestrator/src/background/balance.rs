//! Looks at pools that are balanced without being asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, Looks, PowerLooks};

/// A host that is too full for some minutes is no emergency.
const EVERY: Duration = Duration::from_secs(60);

/// Never ends. Controllers of hosts are slow: what waits for them holds no plan up.
pub async fn keep(app: Arc<App>) {
    tokio::join!(balance(&app), power(&app));
}

async fn balance(app: &App) {
    let (mut looks, mut now_and_then) = (Looks::default(), interval(EVERY));
    now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        now_and_then.tick().await;
        if let Err(error) = app.look_at_balance(&mut looks).await {
            tracing::warn!(%error, "pools cannot be looked at");
        }
    }
}

async fn power(app: &App) {
    let (mut looks, mut now_and_then) = (PowerLooks::default(), interval(EVERY));
    now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        now_and_then.tick().await;
        if let Err(error) = app.look_at_power(&mut looks).await {
            tracing::warn!(%error, "it cannot be looked at which hosts are to be on");
        }
    }
}
