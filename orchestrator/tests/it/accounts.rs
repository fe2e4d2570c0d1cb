//! Users and their passwords.

use xenith_orchestrator_api::{audit, auth, token, user};
use xenith_orchestrator_client::Credential;
use xenith_orchestrator_types::audit::ListAudit;
use xenith_orchestrator_types::auth::NewPassword;
use xenith_orchestrator_types::token::CreateToken;
use xenith_orchestrator_types::user::UserRef;
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
