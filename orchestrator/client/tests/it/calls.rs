//! What goes out, what comes back, and what happens when the connection breaks in between.

use serde_json::{Map, Value, json};
use xenith_common_ids::TaskId;
use xenith_orchestrator_api::{auth, system, vm};
use xenith_orchestrator_client::{CallOptions, Client, ClientError, Credential, Repeat, Trust};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::{StartVm, VmRef};
use xenith_orchestrator_types::{ApiError, Empty, Reason};

use crate::server::{Answer, FakeOrchestrator};

pub async fn client(server: &FakeOrchestrator) -> Client {
    let endpoint = server.url().parse().unwrap();
    let credential = Credential::Bearer("s3cret".into());
    Client::connect(endpoint, Trust::Pinned(server.authority), credential).await.unwrap()
}

fn started() -> TaskStarted {
    TaskStarted { task: TaskId::new(), object: None }
}

#[tokio::test]
async fn calls_carry_names_credentials_and_keys() {
    let server = FakeOrchestrator::start().await;
    let expected = started();
    server.answer("vm.start", &expected);
    server.answer("system.info", json!({ "version": "1", "authority": "a" }));
    server.on("auth.login", Answer::Refuse(ApiError::new(Reason::Unauthenticated, "no")));
    let client = client(&server).await;
    let params = StartVm { vm: "web-1".into() };
    assert_eq!(client.call::<vm::Start>(&params).await.unwrap(), expected);
    let options = CallOptions { idempotency_key: Some("mine".into()) };
    client.call_with::<vm::Start>(&params, &options).await.unwrap();
    client.call::<system::Info>(&Empty {}).await.unwrap();
    let login = Credentials { name: "a".into(), password: "b".into(), code: None };
    client.call::<auth::Login>(&login).await.unwrap_err();

    let asked = server.asked();
    assert_eq!((asked[0].method.as_str(), &asked[0].params), ("vm.start", &json!({ "vm": "web-1" })));
    assert_eq!(asked[0].bearer.as_deref(), Some("s3cret"));
    assert_eq!(asked[0].key.as_ref().map(String::len), Some(36), "a mutation gets a key");
    assert_eq!(asked[1].key.as_deref(), Some("mine"));
    assert_eq!(asked[2].key, None, "a read needs none");
    assert_eq!(asked[3].key, None, "before signing in there is nobody to keep it for");
}

#[tokio::test]
async fn a_broken_connection_repeats_the_call_under_its_key() {
    let server = FakeOrchestrator::start().await;
    server.on("vm.start", Answer::CutThen(serde_json::to_value(started()).unwrap()));
    let client = client(&server).await;
    client.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await.unwrap();
    let keys: Vec<_> = server.asked().into_iter().map(|asked| asked.key.unwrap()).collect();
    assert!(matches!(keys.as_slice(), [first, second] if first == second), "{keys:?}");
}

#[tokio::test]
async fn a_call_that_is_not_safe_goes_out_once() {
    let server = FakeOrchestrator::start().await;
    server.on("vm.start", Answer::CutThen(json!({})));
    let client = client(&server).await;
    let params: Map<String, Value> = serde_json::from_str(r#"{"vm":"web-1"}"#).unwrap();
    let error = client.call_raw("vm.start", params, Repeat::Never).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { key: None, .. }), "{error:?}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_plan_asks_for_a_dry_run() {
    let server = FakeOrchestrator::start().await;
    let client = client(&server).await;
    let plan = client.plan::<vm::Start>(&StartVm { vm: "web-1".into() }).await.unwrap();
    assert_eq!(plan["host"], "xen1");
    assert!(server.asked()[0].dry_run);
}

#[tokio::test]
async fn refusals_keep_their_reason() {
    let server = FakeOrchestrator::start().await;
    let mut ambiguous = ApiError::new(Reason::Ambiguous, "two VMs are called web");
    ambiguous.data.candidates = vec!["web (1)".into(), "web (2)".into()];
    server.on("vm.get", Answer::Refuse(ambiguous.clone()));
    let client = client(&server).await;
    let error = client.call::<vm::Get>(&VmRef { vm: "web".into() }).await.unwrap_err();
    assert!(matches!(&error, ClientError::Api(error) if *error == ambiguous), "{error:?}");

    let error = client.call_raw("vm.fly", Map::new(), Repeat::Safe).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code: -32601, .. }), "{error:?}");

    server.answer("vm.get", json!({ "strange": true }));
    let error = client.call::<vm::Get>(&VmRef { vm: "web".into() }).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unexpected { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_known_at_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("https://{closed}").parse().unwrap();
    let error = Client::connect(endpoint, Trust::System, Credential::None).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { .. }), "{error:?}");
}
