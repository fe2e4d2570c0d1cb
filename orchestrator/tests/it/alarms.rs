//! From a value beyond a threshold to an event, a record and whoever has to be told.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{Method, alarm, alarm_rule, event, mail, user, vm};
use xenith_orchestrator_types::alarm::Alarm;
use xenith_orchestrator_types::event::{Event, ListEvents};
use xenith_orchestrator_types::vm::PowerOffVm;
use xenith_orchestrator_types::{Empty, ListRequest, Reason};

use crate::harness::{Installation, api_error, small, until};
use crate::mail::{Kind, Server};

/// What was posted to it.
pub type Posted = Arc<Mutex<Vec<Value>>>;

pub async fn receiver() -> (String, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let posted = Posted::default();
    let taken = Arc::clone(&posted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            // A body of JSON ends the request: there is one for each connection.
            let body = loop {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
                if body.is_some() || read == 0 {
                    break body;
                }
            };
            taken.lock().unwrap().extend(body);
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            let _gone = stream.write_all(answer).await;
        }
    });
    (url, posted)
}

pub fn turns(posted: &Posted) -> Vec<String> {
    let posted = posted.lock().unwrap();
    let alarms = posted.iter().flat_map(|body| body["alarms"].as_array().unwrap());
    alarms
        .map(|alarm| format!("{} {}", alarm["name"].as_str().unwrap(), alarm["turn"].as_str().unwrap()))
        .collect()
}

async fn scene() -> Installation {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    for name in ["web-1", "db-1"] {
        let mut create = small(name);
        create.start = true;
        create.tags.insert(name.split('-').next().unwrap().to_owned());
        installation.run::<vm::Create>(&create).await;
    }
    installation
}

async fn call<M: Method>(installation: &Installation, params: Value) -> M::Result {
    installation.admin.call::<M>(&serde_json::from_value(params).unwrap()).await.unwrap()
}

async fn alarms(installation: &Installation) -> Vec<Alarm> {
    installation.admin.call::<alarm::List>(&ListRequest::default()).await.unwrap().items
}

async fn events(installation: &Installation, kind: &str) -> Vec<Event> {
    let request = ListEvents { filter: format!("kind:{kind}"), ..ListEvents::default() };
    installation.admin.call::<event::List>(&request).await.unwrap().items
}

/// Every VM has more memory than that.
fn rule(name: &str, filter: &str) -> Value {
    json!({ "name": name, "filter": filter, "metric": "memory", "threshold": 1000.0 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_raised_told_kept_over_a_restart_and_cleared() {
    let mut installation = scene().await;
    let (url, posted) = receiver().await;
    let syslog = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut create = rule("large", "tag:web");
    create["webhook"] = json!(url);
    create["syslog"] = json!(format!("udp://{}", syslog.local_addr().unwrap()));
    create["severity"] = json!("error");
    call::<alarm_rule::Create>(&installation, create).await;
    let raised = until("the alarm is raised", async || alarms(&installation).await.pop()).await;
    assert_eq!((raised.name.as_str(), raised.rule_name.as_str()), ("web-1", "large"));
    assert!(raised.value > Some(1000.0) && !raised.silenced);
    until("the webhook is told", async || (turns(&posted) == ["web-1 raised"]).then_some(())).await;
    let mut datagram = [0; 2048];
    let (length, _) = syslog.recv_from(&mut datagram).await.unwrap();
    let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
    assert!(text.starts_with("<131>1 ") && text.contains("alarm.raised - web-1: memory is"), "{text}");
    let happened = events(&installation, "alarm.raised").await;
    let subject = format!("vm/{}", installation.vm("web-1").await.id);
    assert_eq!(happened.iter().map(|event| &event.subject).collect::<Vec<_>>(), [&subject]);

    installation.restart().await;
    assert_eq!(alarms(&installation).await.len(), 1, "it is raised still");
    call::<alarm_rule::Update>(&installation, json!({ "rule": "large", "threshold": 1e15 })).await;
    until("the alarm clears", async || alarms(&installation).await.is_empty().then_some(())).await;
    until("the webhook is told", async || {
        (turns(&posted) == ["web-1 raised", "web-1 cleared"]).then_some(())
    })
    .await;
    assert_eq!(events(&installation, "alarm.raised").await.len(), 1, "a restart raises nothing again");
    assert_eq!(events(&installation, "alarm.cleared").await.len(), 1);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_told_by_mail_and_so_is_its_end() {
    let (installation, server) = (scene().await, Server::start(Kind::Open).await);
    let settings = json!({
        "server": "127.0.0.1", "port": server.port, "security": "none", "from": "xenith@example.org",
    });
    call::<mail::Set>(&installation, settings).await;
    let mut create = rule("large", "tag:web");
    create["mail_to"] = json!(["ops@example.org"]);
    call::<alarm_rule::Create>(&installation, create).await;
    let letter = async || {
        until("a letter has come", async || server.seen().into_iter().find(|line| line.contains("Subject:")))
            .await
    };
    let told = letter().await;
    for part in ["[Xenith] alarm: web-1 memory", "ops@example.org", "raised"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    call::<alarm_rule::Update>(&installation, json!({ "rule": "large", "threshold": 1e15 })).await;
    until("the alarm clears", async || alarms(&installation).await.is_empty().then_some(())).await;
    let told = letter().await;
    assert!(told.contains("[Xenith] cleared: web-1 memory"), "{told}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_in_silence_and_what_is_still_wrong_is_told_after_it() {
    let installation = scene().await;
    let (url, posted) = receiver().await;
    let silence = json!({ "of": "vm", "object": "web-1", "seconds": 3600, "comment": "load test" });
    let silence = call::<alarm::Silence>(&installation, silence).await;
    let mut create = rule("large", "");
    create["webhook"] = json!(url);
    call::<alarm_rule::Create>(&installation, create).await;
    until("both alarms are raised", async || (alarms(&installation).await.len() == 2).then_some(())).await;
    until("the one is told", async || (turns(&posted) == ["db-1 raised"]).then_some(())).await;
    let shown = alarms(&installation).await;
    for alarm in &shown {
        assert_eq!(alarm.silenced, alarm.name == "web-1");
    }
    // The list is one like the others.
    let page = async |filter: &str, sort: &str, limit| {
        let (filter, sort) = (filter.into(), sort.into());
        let request = ListRequest { filter, sort, limit, ..ListRequest::default() };
        let page = installation.admin.call::<alarm::List>(&request).await.unwrap();
        let names: Vec<String> = page.items.into_iter().map(|alarm| alarm.name).collect();
        (names.join(" "), page.total, page.next.is_some())
    };
    assert_eq!(page("silenced:yes", "", 0).await, ("web-1".into(), 1, false));
    assert_eq!(page("of:vm rule:large metric:memory", "name", 1).await, ("db-1".into(), 2, true));
    assert_eq!(page("severity:error", "", 0).await, (String::new(), 0, false));
    let silences = installation.admin.call::<alarm::Silences>(&Empty {}).await.unwrap();
    assert_eq!(silences, std::slice::from_ref(&silence));
    call::<alarm::Unsilence>(&installation, json!({ "silence": silence.id })).await;
    until("the other is told", async || (turns(&posted) == ["db-1 raised", "web-1 raised"]).then_some(()))
        .await;

    call::<alarm_rule::Delete>(&installation, json!({ "rule": "large" })).await;
    until("the alarms end with their rule", async || alarms(&installation).await.is_empty().then_some(()))
        .await;
    assert_eq!(turns(&posted).len(), 2, "nobody is told whose rule is gone");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sees_one_vm_sees_its_alarms_only() {
    let installation = scene().await;
    call::<alarm_rule::Create>(&installation, rule("large", "")).await;
    until("both alarms are raised", async || (alarms(&installation).await.len() == 2).then_some(())).await;
    let ann = json!({
        "name": "ann", "password": "a long password",
        "bindings": [{ "role": "admin", "scope": { "kind": "tag", "value": "web" } }],
    });
    call::<user::Create>(&installation, ann).await;
    let ann = installation.login("ann", "a long password").await.unwrap();
    let seen = ann.call::<alarm::List>(&ListRequest::default()).await.unwrap().items;
    assert_eq!(seen.iter().map(|alarm| alarm.name.as_str()).collect::<Vec<_>>(), ["web-1"]);
    let error = api_error(ann.call::<alarm_rule::List>(&Empty {}).await);
    assert_eq!(error.reason(), Reason::Forbidden);
    let again = serde_json::from_value(rule("large", "")).unwrap();
    let again = installation.admin.call::<alarm_rule::Create>(&again).await;
    assert_eq!(api_error(again).reason(), Reason::Conflict);

    // What a filter lets through no more is watched no more, once hosts were heard; a VM that is off says nothing.
    installation.run::<vm::PowerOff>(&PowerOffVm { vm: "db-1".into(), discard_memory: false }).await;
    assert_eq!(alarms(&installation).await.len(), 2, "silence is no good news");
    installation.stop().await;
}
