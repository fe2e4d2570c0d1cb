//! One's own two-factor sign-in.

use xenith_orchestrator_api::user;
use xenith_orchestrator_types::user::{ConfirmTotp, OwnPassword};

use crate::app::App;
use crate::ask;
use crate::cli::Keyed;
use crate::error::CliError;
use crate::run::access::user_sheet;
use crate::run::said;

async fn own_password(app: &App) -> Result<OwnPassword, CliError> {
    // The server first: a password is not typed for nothing.
    app.client().await?;
    Ok(OwnPassword { password: ask::secret("Your password", "XENITH_PASSWORD")? })
}

pub async fn enrol(app: &App, keyed: &Keyed) -> Result<(), CliError> {
    let enrolment = app.change::<user::TotpEnrol>(&own_password(app).await?, keyed).await?;
    app.out.value(&enrolment, || format!("{}\n{}\n", enrolment.secret, enrolment.uri))?;
    said(
        app,
        "Give the secret, or the otpauth address as a QR code, to your authenticator app; neither is shown again",
    );
    said(app, "Nothing has changed yet: turn it on with a code that the app shows: xenith user totp-confirm");
    Ok(())
}

pub async fn confirm(app: &App, keyed: &Keyed) -> Result<(), CliError> {
    app.client().await?;
    let code = ask::secret("Code that the app shows", "XENITH_CODE")?;
    let answer = app.change::<user::TotpConfirm>(&ConfirmTotp { code }, keyed).await?;
    app.out.value(&answer, || format!("{}\n", answer.codes.join("\n")))?;
    said(app, "Two-factor sign-in is on; your other sessions have ended");
    said(
        app,
        "Keep these recovery codes on paper: each signs in once without the app, and they are not shown again",
    );
    Ok(())
}

pub async fn disable(app: &App, keyed: &Keyed) -> Result<(), CliError> {
    let user = app.change::<user::TotpDisable>(&own_password(app).await?, keyed).await?;
    app.out.object(&user, || user_sheet(&user))
}
