//! Who sees and does what.

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{auth, host, token, user, vm};
use xenith_orchestrator_client::{Client, Credential};
use xenith_orchestrator_types::host::AddHost;
use xenith_orchestrator_types::token::{CreateToken, TokenRef};
use xenith_orchestrator_types::user::{CreateUser, UpdateUser, UserRef};
use xenith_orchestrator_types::vm::{StartVm, VmRef};
use xenith_orchestrator_types::{Binding, ListRequest, Reason, Role, Scope};

use crate::harness::{EMPTY, Installation, api_error, small};

const PASSWORD: &str = "correct horse battery";

async fn user(installation: &Installation, name: &str, role: Role, scope: Scope) -> Client {
    let request =
        CreateUser { name: name.into(), password: PASSWORD.into(), bindings: vec![Binding { role, scope }] };
    installation.admin.call::<user::Create>(&request).await.unwrap();
    installation.login(name, PASSWORD).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_as_far_as_a_role_reaches() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut prod = small("prod-1");
    prod.tags.insert("prod".into());
    installation.run::<vm::Create>(&prod).await;
    let mut dev = small("dev-1");
    dev.tags.insert("dev".into());
    installation.run::<vm::Create>(&dev).await;
    let operator = user(&installation, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    let seen = operator.call::<vm::List>(&ListRequest::default()).await.unwrap();
    assert_eq!((seen.total, seen.items.len()), (1, 1), "{seen:?}");
    let hidden = api_error(operator.call::<vm::Get>(&VmRef { vm: "prod-1".into() }).await);
    let missing = api_error(operator.call::<vm::Get>(&VmRef { vm: "none-1".into() }).await);
    assert_eq!(hidden.message.replace("prod-1", "none-1"), missing.message, "no hint that it exists");
    assert!(operator.call::<vm::Start>(&StartVm { vm: "dev-1".into() }).await.is_ok());
    let add = AddHost { name: None, pool: None, minutes: 0 };
    assert_eq!(api_error(operator.call::<host::Add>(&add).await).reason(), Reason::Forbidden);
    let viewer = user(&installation, "vera", Role::Viewer, Scope::All).await;
    let refused = api_error(viewer.call::<vm::Start>(&StartVm { vm: "prod-1".into() }).await);
    assert_eq!(refused.reason(), Reason::Forbidden);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_tokens_end_when_they_should() {
    let installation = Installation::start().await;
    let nobody = installation.client(Credential::None).await;
    let refused = api_error(nobody.call::<vm::List>(&ListRequest::default()).await);
    assert_eq!(refused.reason(), Reason::Unauthenticated);

    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let created = installation.admin.call::<token::Create>(&request).await.unwrap();
    let script = installation.client(Credential::Bearer(created.secret)).await;
    assert_eq!(script.call::<auth::Whoami>(&EMPTY).await.unwrap().name, "admin");
    let refused = api_error(script.call::<token::Create>(&request).await);
    assert_eq!(refused.reason(), Reason::Forbidden, "a token makes no tokens");
    installation.admin.call::<token::Revoke>(&TokenRef { token: "ci".into() }).await.unwrap();
    assert_eq!(api_error(script.call::<auth::Whoami>(&EMPTY).await).reason(), Reason::Unauthenticated);

    let dora = user(&installation, "dora", Role::Viewer, Scope::All).await;
    let disable = UpdateUser { user: "dora".into(), password: None, bindings: None, disabled: Some(true) };
    installation.admin.call::<user::Update>(&disable).await.unwrap();
    assert_eq!(api_error(dora.call::<auth::Whoami>(&EMPTY).await).reason(), Reason::Unauthenticated);
    let last = api_error(installation.admin.call::<user::Delete>(&UserRef { user: "admin".into() }).await);
    assert_eq!(last.reason(), Reason::Conflict, "the last admin stays");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slowed_down() {
    let installation = Installation::start().await;
    let mut reasons = Vec::new();
    for _ in 0..8 {
        reasons.push(api_error(installation.login("admin", "wrong").await.map(|_| ())).reason());
    }
    assert_eq!(reasons[0], Reason::Unauthenticated);
    assert_eq!(reasons[7], Reason::Throttled);
    installation.stop().await;
}
