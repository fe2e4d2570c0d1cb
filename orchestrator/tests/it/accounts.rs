//! Users, their passwords and their second factor.

use data_encoding::BASE32_NOPAD;
use time::OffsetDateTime;
use xenith_orchestrator::authn::totp;
use xenith_orchestrator_api::{audit, auth, event, token, user};
use xenith_orchestrator_client::{Client, ClientError, Credential};
use xenith_orchestrator_types::audit::ListAudit;
use xenith_orchestrator_types::auth::{Credentials, NewPassword};
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::token::CreateToken;
use xenith_orchestrator_types::user::{ConfirmTotp, OwnPassword, UpdateUser, UserRef};
use xenith_orchestrator_types::{Binding, Reason, Role, Scope};

use crate::admins::{PASSWORD, somebody};
use crate::harness::{EMPTY, Installation, api_error};

const NEW: &str = "another horse stable";

fn viewer() -> Vec<Binding> {
    vec![Binding { role: Role::Viewer, scope: Scope::All }]
}

fn change(old: &str, new: &str) -> NewPassword {
    NewPassword { old: old.into(), new: new.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_ends_every_other_session_of_that_user() {
    let all = Installation::start().await;
    let here = somebody(&all, "dora", viewer()).await;
    let there = all.login("dora", PASSWORD).await.unwrap();
    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let secret = here.call::<token::Create>(&request).await.unwrap().secret;
    let script = all.client(Credential::Bearer(secret)).await;

    // What is refused changes nothing.
    let wrong = api_error(here.call::<auth::ChangePassword>(&change("wrong", NEW)).await);
    assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some("old")), "{wrong}");
    let short = api_error(here.call::<auth::ChangePassword>(&change(PASSWORD, "short")).await);
    assert_eq!(short.reason(), Reason::Invalid, "{short}");
    let by_token = api_error(script.call::<auth::ChangePassword>(&change(PASSWORD, NEW)).await);
    assert_eq!(by_token.reason(), Reason::Forbidden, "{by_token}");
    assert!(there.call::<auth::Whoami>(&EMPTY).await.is_ok());

    here.call::<auth::ChangePassword>(&change(PASSWORD, NEW)).await.unwrap();
    assert_eq!(here.call::<auth::Whoami>(&EMPTY).await.unwrap().name, "dora", "this one goes on");
    let ended = api_error(there.call::<auth::Whoami>(&EMPTY).await);
    assert_eq!(ended.reason(), Reason::Unauthenticated, "{ended}");
    assert!(all.admin.call::<auth::Whoami>(&EMPTY).await.is_ok(), "nobody else's");
    let old = api_error(all.login("dora", PASSWORD).await.map(|_| ()));
    assert_eq!(old.reason(), Reason::Unauthenticated, "{old}");
    assert!(all.login("dora", NEW).await.is_ok());

    let noted = all.admin.call::<audit::List>(&ListAudit::default()).await.unwrap().items;
    let noted: Vec<_> = noted.iter().filter(|record| record.method == "auth.change_password").collect();
    assert!(!noted.is_empty());
    for record in noted {
        let text = record.params.to_string();
        assert!(!text.contains(PASSWORD) && !text.contains(NEW), "{text}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_shown_by_name_and_by_id_to_who_may_know() {
    let all = Installation::start().await;
    let dora = somebody(&all, "dora", viewer()).await;
    let herself = dora.call::<auth::Whoami>(&EMPTY).await.unwrap();
    for reference in ["dora".to_owned(), herself.id.to_string()] {
        let shown = all.admin.call::<user::Get>(&UserRef { user: reference.clone() }).await.unwrap();
        assert_eq!(
            (shown.id, shown.name.as_str(), shown.disabled),
            (herself.id, "dora", false),
            "{reference}"
        );
        assert_eq!(shown.bindings, viewer(), "{reference}");
        assert!(shown.last_login.is_some(), "{reference}");
        let refused = api_error(dora.call::<user::Get>(&UserRef { user: reference }).await);
        assert_eq!(refused.reason(), Reason::Forbidden, "not even herself: {refused}");
    }
    let nobody = api_error(all.admin.call::<user::Get>(&UserRef { user: "nobody".into() }).await);
    assert_eq!(nobody.reason(), Reason::NotFound);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_admins_who_end_each_other_at_once_one_stays() {
    let all = Installation::start().await;
    let admin = || vec![Binding { role: Role::Admin, scope: Scope::All }];
    for round in 0..5 {
        let name = format!("anna-{round}");
        let anna = somebody(&all, &name, admin()).await;
        let end = |user: &str| UserRef { user: user.into() };
        // Her end of the first one comes as a change, the other way as a deletion.
        let no_more =
            UpdateUser { user: "admin".into(), password: None, bindings: Some(vec![]), disabled: None };
        let theirs = async { all.admin.call::<user::Delete>(&end(&name)).await };
        let hers = async { anna.call::<user::Update>(&no_more).await };
        let (theirs, hers) = tokio::join!(theirs, hers);
        assert!(theirs.is_ok() != hers.is_ok(), "{theirs:?} {hers:?}");
        if hers.is_ok() {
            // As it was, for the next round.
            let again = UpdateUser { bindings: Some(admin()), ..no_more };
            anna.call::<user::Update>(&again).await.unwrap();
            all.admin.call::<user::Delete>(&end(&name)).await.unwrap();
        }
    }
    all.stop().await;
}

/// What an app shows for this secret, so many steps from now.
pub fn code_of(secret: &str, steps: u64) -> String {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap();
    totp::code(&secret, now / 30 + steps)
}

async fn sign_in(all: &Installation, code: Option<&str>) -> Result<Client, ClientError> {
    let nobody = all.client(Credential::None).await;
    let credentials =
        Credentials { name: "dora".into(), password: PASSWORD.into(), code: code.map(Into::into) };
    let session = nobody.call::<auth::Login>(&credentials).await?.session;
    Ok(all.client(Credential::Bearer(session)).await)
}

fn own(password: &str) -> OwnPassword {
    OwnPassword { password: password.into() }
}

fn dora() -> UserRef {
    UserRef { user: "dora".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_counts_once_it_is_confirmed() {
    let all = Installation::start().await;
    let here = somebody(&all, "dora", viewer()).await;
    let there = sign_in(&all, None).await.unwrap();
    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let script = here.call::<token::Create>(&request).await.unwrap().secret;
    let script = all.client(Credential::Bearer(script)).await;

    let wrong = api_error(here.call::<user::TotpEnrol>(&own("wrong")).await);
    assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some("password")), "{wrong}");
    let enrolment = here.call::<user::TotpEnrol>(&own(PASSWORD)).await.unwrap();
    assert!(enrolment.uri.contains(&format!("secret={}&", enrolment.secret)), "{}", enrolment.uri);
    assert!(sign_in(&all, None).await.is_ok(), "it does not count yet");
    let wrong = ConfirmTotp { code: code_of(&enrolment.secret, 1000) };
    let wrong = api_error(here.call::<user::TotpConfirm>(&wrong).await);
    assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some("code")), "{wrong}");

    let first = code_of(&enrolment.secret, 0);
    let codes = here.call::<user::TotpConfirm>(&ConfirmTotp { code: first.clone() }).await.unwrap().codes;
    assert!(here.call::<auth::Whoami>(&EMPTY).await.unwrap().totp, "this session goes on");
    let ended = api_error(there.call::<auth::Whoami>(&EMPTY).await);
    assert_eq!(ended.reason(), Reason::Unauthenticated, "{ended}");
    assert!(script.call::<auth::Whoami>(&EMPTY).await.is_ok(), "a token is no sign-in");
    let by_token = api_error(script.call::<user::TotpDisable>(&own(PASSWORD)).await);
    assert_eq!(by_token.reason(), Reason::Forbidden, "{by_token}");

    let asked = api_error(sign_in(&all, None).await);
    assert_eq!((asked.reason(), asked.data.field.as_deref()), (Reason::Invalid, Some("code")), "{asked}");
    let used = api_error(sign_in(&all, Some(&first)).await);
    assert_eq!(
        (used.reason(), used.data.field.as_deref()),
        (Reason::Unauthenticated, Some("code")),
        "{used}"
    );
    // Its clock is a little ahead.
    assert!(sign_in(&all, Some(&code_of(&enrolment.secret, 1))).await.is_ok());
    // Of two sign-ins with one code at the same time, one is let in.
    let twice = tokio::join!(sign_in(&all, Some(&codes[0])), sign_in(&all, Some(&codes[0])));
    assert_ne!(twice.0.is_ok(), twice.1.is_ok());
    let events = all.admin.call::<event::List>(&ListEvents::default()).await.unwrap().items;
    let noted = events.iter().find(|event| event.kind == "user.recovery_code").unwrap();
    assert!(noted.message.contains("dora") && noted.message.contains("9 are left"), "{}", noted.message);

    let records = all.admin.call::<audit::List>(&ListAudit::default()).await.unwrap().items;
    let text = serde_json::to_string(&records).unwrap();
    assert!(text.contains("user.totp_confirm"));
    for secret in [&first, &codes[0], &enrolment.secret] {
        assert!(!text.contains(secret.as_str()), "{secret} is in the audit log");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_turned_off_by_its_user_or_an_admin() {
    let all = Installation::start().await;
    let here = somebody(&all, "dora", viewer()).await;
    for by_admin in [false, true] {
        let secret = here.call::<user::TotpEnrol>(&own(PASSWORD)).await.unwrap().secret;
        let confirm = ConfirmTotp { code: code_of(&secret, 0) };
        here.call::<user::TotpConfirm>(&confirm).await.unwrap();
        let again = api_error(here.call::<user::TotpEnrol>(&own(PASSWORD)).await);
        assert_eq!(again.reason(), Reason::WrongState, "{again}");
        let user = if by_admin {
            all.admin.call::<user::TotpReset>(&dora()).await.unwrap()
        } else {
            let wrong = api_error(here.call::<user::TotpDisable>(&own("wrong")).await);
            assert_eq!(wrong.data.field.as_deref(), Some("password"), "{wrong}");
            here.call::<user::TotpDisable>(&own(PASSWORD)).await.unwrap()
        };
        assert!(!user.totp);
        assert!(sign_in(&all, None).await.is_ok(), "by an admin: {by_admin}");
    }
    let off = api_error(all.admin.call::<user::TotpReset>(&dora()).await);
    assert_eq!(off.reason(), Reason::WrongState, "{off}");
    let mine = api_error(all.admin.call::<user::TotpReset>(&UserRef { user: "admin".into() }).await);
    assert_eq!(mine.reason(), Reason::WrongState, "{mine}");
    assert!(mine.message.contains("totp-disable"), "{mine}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_the_password_guesses_codes_no_faster_than_passwords() {
    let all = Installation::start().await;
    let here = somebody(&all, "dora", viewer()).await;
    let secret = here.call::<user::TotpEnrol>(&own(PASSWORD)).await.unwrap().secret;
    here.call::<user::TotpConfirm>(&ConfirmTotp { code: code_of(&secret, 0) }).await.unwrap();
    let begun = std::time::Instant::now();
    let mut guessed = 0;
    loop {
        let guess = api_error(sign_in(&all, Some(&code_of(&secret, 1000 + guessed))).await);
        if guess.reason() == Reason::Throttled {
            break;
        }
        assert_eq!(guess.reason(), Reason::Unauthenticated, "{guess}");
        guessed += 1;
        // Asking without a code, the password being right, clears nothing.
        let asked = api_error(sign_in(&all, None).await);
        if asked.reason() == Reason::Throttled {
            break;
        }
        assert_eq!(asked.data.field.as_deref(), Some("code"), "{asked}");
        // Five are free; each one more waits two seconds and longer.
        assert!(guessed <= 6 + begun.elapsed().as_secs() / 2, "{guessed} in {:?}", begun.elapsed());
    }
    assert!(guessed >= 5, "{guessed}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_role_that_asks_for_a_second_factor_sets_it_up_first() {
    let folder = tempfile::tempdir().unwrap();
    let all =
        Installation::start_with(folder, |config| config.require_second_factor = vec![Role::Admin]).await;
    let who = all.admin.call::<auth::Whoami>(&EMPTY).await.unwrap();
    assert!(who.totp_due && who.bindings.is_empty(), "{who:?}");
    let refused = api_error(all.admin.call::<user::Get>(&UserRef { user: "admin".into() }).await);
    let token = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    for refused in [refused, api_error(all.admin.call::<token::Create>(&token).await)] {
        assert_eq!(refused.reason(), Reason::Forbidden, "{refused}");
        assert!(refused.message.contains("totp-enrol"), "{refused}");
    }
    let secret = all.admin.call::<user::TotpEnrol>(&own(all.password())).await.unwrap().secret;
    let confirm = ConfirmTotp { code: code_of(&secret, 0) };
    all.admin.call::<user::TotpConfirm>(&confirm).await.unwrap();
    let who = all.admin.call::<auth::Whoami>(&EMPTY).await.unwrap();
    assert!(!who.totp_due && !who.bindings.is_empty(), "{who:?}");
    assert!(all.admin.call::<token::Create>(&token).await.is_ok());
    // Who has another role is not asked.
    let dora = somebody(&all, "dora", viewer()).await;
    assert!(!dora.call::<auth::Whoami>(&EMPTY).await.unwrap().totp_due);
    all.stop().await;
}
