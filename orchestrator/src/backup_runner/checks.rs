//! Repositories that nobody looked at for a week are checked.
//!
//! Quickly: footers, index and maps, which finds what was lost or cut off and costs little wherever the repository is.
//! Reading every byte is for people to ask for, because it may cost much. That a check began is noted in the commit that
//! begins it, so one that fails is tried in a week, and its failure is told.

use time::{Duration, OffsetDateTime};
use xenith_common_ids::{RepositoryId, SagaId};
use xenith_orchestrator_saga::Meta;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::ApiError;

use super::WHO;
use crate::app::App;
use crate::errors::{saga_error, store_error};
use crate::model::RepositoryRecord;
use crate::sagas::repository_act::{Act, Params, RepositoryAct};

const EVERY: Duration = Duration::days(7);

pub(super) async fn check(app: &App, now: OffsetDateTime) -> Result<(), ApiError> {
    let (records, _) = app.db.repositories.all().await.map_err(|e| store_error(&e))?;
    for record in records {
        if is_due((record.value.repository.checked, record.value.check_begun), now) {
            begin(app, &record, now).await?;
        }
    }
    Ok(())
}

/// Of one that was there once. A time from the future is a clock's that was wrong: it holds nothing up.
fn is_due((checked, begun): (Option<OffsetDateTime>, Option<OffsetDateTime>), now: OffsetDateTime) -> bool {
    let lately = |at: Option<OffsetDateTime>| at.is_some_and(|at| (now - at).abs() <= EVERY);
    checked.is_some() && !lately(checked) && !lately(begun)
}

async fn begin(
    app: &App,
    found: &Record<RepositoryId, RepositoryRecord>,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    // With no host connected the next look does it.
    let Ok(host) = app.any_host(found.value.host) else { return Ok(()) };
    let meta = Meta {
        title: format!("Check the repository {}", found.value.repository.name),
        who: WHO.to_owned(),
        subjects: vec![format!("repository/{}", found.key), format!("host/{host}")],
        labels: [("method".to_owned(), "repository.verify".to_owned())].into(),
    };
    let record = RepositoryRecord { check_begun: Some(now), ..found.value.clone() };
    let commit = app.db.repositories.update_in(Transaction::new(), found, &record);
    let params = Params { repository: found.key, host, act: Act::Check };
    let started = app.engine.start_with::<RepositoryAct>(SagaId::new(), &params, meta, commit).await;
    started.map(drop).map_err(|error| saga_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(10_000);
        let ago = |days| Some(now - Duration::days(days));
        for (what, checked, begun, due) in [
            ("never there", None, None, false),
            ("made today", ago(0), None, false),
            ("not looked at for long", ago(8), None, true),
            ("a check was begun", ago(8), ago(1), false),
            ("that check failed", ago(20), ago(8), true),
            ("asked for since", ago(2), ago(9), false),
            ("a clock was ahead", ago(-400), ago(-400), true),
        ] {
            assert_eq!(is_due((checked, begun), now), due, "{what}");
        }
    }
}
