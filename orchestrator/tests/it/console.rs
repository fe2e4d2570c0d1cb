//! Consoles from ticket to last byte: through the API, a WebSocket, a real agent, a real pseudo-terminal.

use std::time::Duration;

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{auth, console, token, user, vm};
use xenith_orchestrator_client::{Client, ClientError, Console, Credential};
use xenith_orchestrator_types::console::{
    ConsoleControl, ConsoleKind, ConsoleTicket, OpenHostConsole, OpenVmConsole, close,
};
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::token::{CreateToken, TokenRef};
use xenith_orchestrator_types::user::CreateUser;
use xenith_orchestrator_types::vm::{CreateVm, PowerOffVm, ShutdownVm};
use xenith_orchestrator_types::{Binding, Reason, Role, Scope};

use crate::harness::{EMPTY, Installation, PATIENCE, api_error, small};

const BOOT_TEXT: &str = "Booting a simulated guest";

async fn with_guest(change: impl FnOnce(&mut CreateVm)) -> Installation {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut guest = small("web");
    guest.start = true;
    change(&mut guest);
    installation.run::<vm::Create>(&guest).await;
    installation
}

fn serial(vm: &str) -> OpenVmConsole {
    OpenVmConsole { vm: vm.into(), kind: ConsoleKind::Serial, history: None }
}

async fn ticket(client: &Client) -> ConsoleTicket {
    client.call::<console::Vm>(&serial("web")).await.unwrap()
}

async fn open(client: &Client) -> Console {
    let ticket = ticket(client).await;
    client.console(&ticket).await.unwrap()
}

/// Reads until `wanted` was there, and returns all that was.
async fn read_until(console: &mut Console, wanted: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            match console.reader.next().await {
                Ok(Some(data)) => seen.extend_from_slice(&data),
                other => panic!("{other:?} before {wanted:?}"),
            }
        }
    };
    let late = tokio::time::timeout(PATIENCE, reading).await.is_err();
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(!late, "no {wanted:?} in {seen:?}");
    seen
}

async fn read_to_end(console: &mut Console) -> Result<(), ClientError> {
    let reading = async {
        while console.reader.next().await?.is_some() {}
        Ok(())
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it ends in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_share_a_guest_and_late_ones_see_its_boot() {
    let installation = with_guest(|_| {}).await;
    let mut first = open(&installation.admin).await;
    let seen = read_until(&mut first, "web login: ").await;
    assert!(seen.contains(BOOT_TEXT), "{seen:?}");
    first.writer.send("root\r".into()).await.unwrap();
    read_until(&mut first, "root\r\nweb login: ").await;

    let mut second = open(&installation.admin).await;
    let seen = read_until(&mut second, "root\r\nweb login: ").await;
    assert!(seen.contains(BOOT_TEXT), "{seen:?}");
    second.writer.send("hello".into()).await.unwrap();
    read_until(&mut first, "hello").await;
    read_until(&mut second, "hello").await;

    let only_new = OpenVmConsole { history: Some(0), ..serial("web") };
    let only_new = installation.admin.call::<console::Vm>(&only_new).await.unwrap();
    let mut third = installation.admin.console(&only_new).await.unwrap();
    first.writer.close().await;
    // Its own: what others type may come before it looks.
    third.writer.send("!".into()).await.unwrap();
    let seen = read_until(&mut third, "!").await;
    assert_eq!(seen, "!", "nothing of before");
    read_until(&mut second, "!").await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_for_one_use_by_one_user() {
    let installation = with_guest(|guest| guest.tags.extend(["dev".to_owned()])).await;
    let admin = &installation.admin;
    let used = ticket(admin).await;
    let mut console = admin.console(&used).await.unwrap();
    read_until(&mut console, BOOT_TEXT).await;
    assert_eq!(api_error(admin.console(&used).await.map(drop)).reason(), Reason::NotFound);
    let invented = ConsoleTicket { path: format!("/console/{}", "0".repeat(64)), ..used };
    assert_eq!(api_error(admin.console(&invented).await.map(drop)).reason(), Reason::NotFound);

    let password = "correct horse battery";
    for (name, role, scope) in [
        ("dora", Role::Operator, Scope::Tag("dev".into())),
        ("otto", Role::Operator, Scope::Tag("ops".into())),
        ("vera", Role::Viewer, Scope::All),
    ] {
        let bindings = vec![Binding { role, scope }];
        let request = CreateUser { name: name.into(), password: password.into(), bindings };
        admin.call::<user::Create>(&request).await.unwrap();
    }
    let dora = installation.login("dora", password).await.unwrap();
    let stolen = ticket(admin).await;
    assert_eq!(api_error(dora.console(&stolen).await.map(drop)).reason(), Reason::Forbidden);
    assert_eq!(api_error(admin.console(&stolen).await.map(drop)).reason(), Reason::NotFound, "spent");
    let mut hers = open(&dora).await;
    read_until(&mut hers, BOOT_TEXT).await;
    let host = OpenHostConsole { host: "xen1".into(), size: None };
    assert_eq!(api_error(dora.call::<console::Host>(&host).await).reason(), Reason::Forbidden);
    // What a browser does: the ticket alone, without a credential.
    let nobody = installation.client(Credential::None).await;
    let bare = ticket(&dora).await;
    assert!(nobody.console(&bare).await.is_ok());

    let otto = installation.login("otto", password).await.unwrap();
    assert_eq!(api_error(otto.call::<console::Vm>(&serial("web")).await).reason(), Reason::NotFound);
    let vera = installation.login("vera", password).await.unwrap();
    assert_eq!(api_error(vera.call::<console::Vm>(&serial("web")).await).reason(), Reason::Forbidden);

    // Who has left has no console: a ticket in hand is refused, an open one is closed.
    let unused = ticket(&dora).await;
    dora.call::<auth::Logout>(&EMPTY).await.unwrap();
    assert_eq!(api_error(nobody.console(&unused).await.map(drop)).reason(), Reason::Forbidden);
    let ended = read_to_end(&mut hers).await;
    let closed = matches!(&ended, Err(ClientError::ConsoleClosed { code: close::NOT_ALLOWED, .. }));
    assert!(closed, "{ended:?}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_consoles_until_it_is_revoked() {
    let installation = with_guest(|_| {}).await;
    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let created = installation.admin.call::<token::Create>(&request).await.unwrap();
    let script = installation.client(Credential::Bearer(created.secret)).await;
    let mut console = open(&script).await;
    read_until(&mut console, BOOT_TEXT).await;
    installation.admin.call::<token::Revoke>(&TokenRef { token: "ci".into() }).await.unwrap();
    let ended = read_to_end(&mut console).await;
    assert!(matches!(&ended, Err(ClientError::ConsoleClosed { code: close::NOT_ALLOWED, .. })), "{ended:?}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_is_seen_and_an_end_is_told() {
    let installation = with_guest(|_| {}).await;
    let mut console = open(&installation.admin).await;
    read_until(&mut console, BOOT_TEXT).await;
    let reboot = ShutdownVm { vm: "web".into(), deadline_s: 30, force: false };
    installation.run::<vm::Reboot>(&reboot).await;
    read_until(&mut console, BOOT_TEXT).await;
    let off = PowerOffVm { vm: "web".into(), discard_memory: false };
    installation.run::<vm::PowerOff>(&off).await;
    read_until(&mut console, "the guest has ended").await;
    let refused = api_error(installation.admin.call::<console::Vm>(&serial("web")).await);
    assert_eq!(refused.reason(), Reason::WrongState, "{refused}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_restarts_serves_again() {
    let mut installation = with_guest(|_| {}).await;
    let mut console = open(&installation.admin).await;
    read_until(&mut console, BOOT_TEXT).await;
    installation.hosts[0].stop_agent().await;
    let ended = read_to_end(&mut console).await;
    assert!(
        matches!(&ended, Err(ClientError::ConsoleClosed { code: close::LOST | close::FAILED, .. })),
        "{ended:?}"
    );
    installation.wait_host("xen1", HostStatus::Unknown).await;
    let refused = api_error(installation.admin.call::<console::Vm>(&serial("web")).await);
    assert_eq!(refused.reason(), Reason::HostUnreachable, "{refused}");
    installation.hosts[0].start_agent().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
    let mut again = open(&installation.admin).await;
    again.writer.send("still there\r".into()).await.unwrap();
    read_until(&mut again, "still there").await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_of_the_host_has_a_terminal() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let request = OpenHostConsole { host: "xen1".into(), size: None };
    let ticket = installation.admin.call::<console::Host>(&request).await.unwrap();
    let mut shell = installation.admin.console(&ticket).await.unwrap();
    let size = serde_json::from_str(r#"{"resize": {"columns": 131, "rows": 43}}"#).unwrap();
    let ConsoleControl::Resize(_) = size;
    shell.writer.control(size).await.unwrap();
    // The sum and the reversal keep the echo of what was typed from passing for the answer.
    shell.writer.send("echo $((6 * 7))-$(stty size | tr ' ' '-'); tty\n".into()).await.unwrap();
    let seen = read_until(&mut shell, "/dev/pts/").await;
    assert!(seen.contains("42-43-131"), "{seen:?}");
    shell.writer.send("exit\n".into()).await.unwrap();
    read_to_end(&mut shell).await.unwrap();
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_is_vnc_end_to_end() {
    let installation = with_guest(|guest| {
        *guest = serde_json::from_value(serde_json::json!({
            "name": "web", "platform": { "kind": "hvm" }, "vcpus": { "online": 1, "max": 1 },
            "memory": { "target": 128, "max": 128 }, "graphics": "vnc", "start": true,
        }))
        .unwrap();
    })
    .await;
    let request = OpenVmConsole { kind: ConsoleKind::Vnc, ..serial("web") };
    let ticket = installation.admin.call::<console::Vm>(&request).await.unwrap();
    let mut screen = installation.admin.console(&ticket).await.unwrap();
    read_until(&mut screen, "RFB 003.008\n").await;
    // Version, no authentication, shared.
    screen.writer.send("RFB 003.008\n".into()).await.unwrap();
    screen.writer.send(vec![1, 1].into()).await.unwrap();
    read_until(&mut screen, "web").await;
    // The whole picture, 320 by 200: far more than one message.
    screen.writer.send(vec![3, 0, 0, 0, 0, 0, 1, 64, 0, 200].into()).await.unwrap();
    let mut picture = 0;
    while picture < 320 * 200 * 4 {
        let data = tokio::time::timeout(Duration::from_secs(20), screen.reader.next()).await.unwrap();
        picture += data.unwrap().expect("it goes on").len();
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_without_a_screen_says_so() {
    let installation = with_guest(|_| {}).await;
    let request = OpenVmConsole { kind: ConsoleKind::Vnc, ..serial("web") };
    let refused = api_error(installation.admin.call::<console::Vm>(&request).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    assert!(refused.message.contains("graphics"), "{refused}");
    installation.stop().await;
}
