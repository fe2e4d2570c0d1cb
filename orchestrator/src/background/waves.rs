//! Waves move on when an import does: whoever changes one nudges. The tick is for what nobody tells, such as an
//! orchestrator that has just started.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(20);

/// Never ends.
pub async fn drive(app: Arc<App>) {
    loop {
        let nudged = app.imports.nudged();
        if let Err(error) = app.drive_waves().await {
            tracing::warn!(%error, "waves cannot be looked at");
        }
        // Too early is no harm, too late is.
        let _either = tokio::time::timeout(EVERY, nudged).await;
    }
}
