//! What a browser meets: the session in a cookie, only for pages of ours; addresses of the UI.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{user, vdi};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::user::CreateUser;
use xenith_orchestrator_types::vdi::UploadVdi;
use xenith_orchestrator_types::{Binding, Role, Scope};

use crate::harness::{Installation, until};

const PASSWORD: &str = "correct horse battery";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

struct Browser<'a> {
    installation: &'a Installation,
    origin: Option<String>,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn at_home(installation: &'a Installation) -> Self {
        let origin = Some(format!("https://{}", installation.address));
        Self { installation, origin, cookie: None }
    }

    async fn ask(&self, method: &str, path: &str, more: &[&str], body: &str) -> Answer {
        let address = self.installation.address;
        let pinned = xenith_common_pki::pinned_client_config(self.installation.fingerprint, &[b"http/1.1"]);
        let connector = TlsConnector::from(Arc::new(pinned.unwrap()));
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut tls = connector.connect(ServerName::from(address.ip()), tcp).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let own = [("origin", &self.origin), ("cookie", &self.cookie)];
        for (name, value) in own.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            request += &format!("{name}: {value}\r\n");
        }
        more.iter().for_each(|line| request += &format!("{line}\r\n"));
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Whether the other side ends TLS properly is not what is looked at.
        let _read = tls.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn sign_in(&mut self, password: &str) -> Answer {
        let body = json!({ "name": "dora", "password": password }).to_string();
        let answer = self.ask("POST", "/session", &["content-type: application/json"], &body).await;
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        self.cookie = cookie.map(ToOwned::to_owned).or(self.cookie.take());
        answer
    }

    async fn whoami(&self) -> Answer {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "auth.whoami", "params": {} }).to_string();
        self.ask("POST", "/rpc", &["content-type: application/json"], &call).await
    }
}

async fn with_dora() -> Installation {
    let installation = Installation::start().await;
    let binding = Binding { role: Role::Viewer, scope: Scope::All };
    let dora = CreateUser { name: "dora".into(), password: PASSWORD.into(), bindings: vec![binding] };
    installation.admin.call::<user::Create>(&dora).await.unwrap();
    installation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_is_in_a_cookie_that_scripts_cannot_read() {
    let installation = with_dora().await;
    let mut browser = Browser::at_home(&installation);
    let wrong = browser.sign_in("not the password").await;
    assert_eq!(wrong.status, 401);
    assert_eq!(wrong.json()["error"]["data"]["reason"], "unauthenticated");
    assert_eq!(wrong.header("set-cookie"), None);

    let answer = browser.sign_in(PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["user"]["name"], "dora");
    assert_eq!(answer.json().get("session"), None, "scripts would see it");
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["__Host-xenith-session=xs1-", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert_eq!(browser.whoami().await.json()["result"]["name"], "dora");

    let ended = browser.ask("DELETE", "/session", &[], "").await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
    let after = browser.whoami().await.json();
    assert_eq!(after["error"]["data"]["reason"], "unauthenticated", "the session itself is over: {after}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_page_gets_at_the_api() {
    let installation = with_dora().await;
    let mut browser = Browser::at_home(&installation);
    browser.sign_in(PASSWORD).await;
    let handshake =
        ["upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="];
    for (name, origin, call, session, socket) in [
        ("another server", Some("https://evil.test"), 403, 403, 403),
        ("a sandboxed frame", Some("null"), 403, 403, 403),
        // No browser omits it here; without it the cookie is as good as none.
        ("no origin", None, 200, 403, 101),
    ] {
        browser.origin = origin.map(ToOwned::to_owned);
        let answer = browser.whoami().await;
        assert_eq!(answer.status, call, "{name}");
        assert!(!answer.body.contains("dora"), "{name}: {}", answer.body);
        assert_eq!(browser.ask("DELETE", "/session", &[], "").await.status, session, "{name}");
        if socket == 403 {
            assert_eq!(browser.ask("GET", "/rpc", &handshake, "").await.status, socket, "{name}");
        }
    }
    installation.stop().await;
}

/// A browser cannot send to a host, whose certificate it does not know: what it sends passes through us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_comes_from_a_browser_in_two_goes() {
    const SIZE: usize = (2 << 20) + 512;
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let bindings = vec![Binding { role: Role::Operator, scope: Scope::All }];
    let dora = CreateUser { name: "dora".into(), password: PASSWORD.into(), bindings };
    installation.admin.call::<user::Create>(&dora).await.unwrap();
    let mut browser = Browser::at_home(&installation);
    let disk: String =
        (0..SIZE).map(|at| if at < 1 << 20 { '\0' } else { char::from(b'a' + (at % 23) as u8) }).collect();
    let request = UploadVdi { name: "disk".into(), host: "xen1".into(), sr: None, capacity: SIZE as u64 };
    let begun = installation.admin.call::<vdi::Upload>(&request).await.unwrap();
    let path = format!("/upload/{}", begun.object.unwrap());
    let put = |from: usize| format!("{path}?from={from}&size={SIZE}");

    assert_eq!(browser.ask("POST", &path, &[], "").await.status, 401, "nobody has signed in");
    browser.sign_in(PASSWORD).await;
    let done = until("the host waits for it", async || {
        let answer = browser.ask("POST", &path, &[], "").await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!(done, json!({ "done": 0, "whole": false }));
    let home = browser.origin.replace("https://evil.test".into());
    assert_eq!(browser.ask("PUT", &put(0), &[], "x").await.status, 403, "another server's page");
    browser.origin = home;

    let elsewhere = browser.ask("PUT", &put(4096), &[], "x").await;
    assert_eq!((elsewhere.status, &elsewhere.json()["error"]["data"]["reason"]), (409, &json!("conflict")));
    let long = browser.ask("PUT", &put(0), &[], &format!("{disk}!")).await;
    assert_eq!(long.status, 422, "{}", long.body);
    let half = browser.ask("PUT", &put(0), &[], &disk[..SIZE / 2]).await;
    assert_eq!(half.status, 503, "half of it is not taken for all: {}", half.body);

    // From where the host is, whatever of it that has kept.
    let mark = until("the host has let go of the half", async || {
        let answer = browser.ask("POST", &path, &[], "").await;
        let done = answer.json()["done"].as_u64()? as usize;
        let whole = browser.ask("PUT", &put(done), &[], &disk[done..]).await;
        (whole.status == 200).then(|| whole.json())
    })
    .await;
    assert_eq!(mark, json!({ "done": SIZE, "whole": true }));
    assert_eq!(installation.wait_task(begun.task).await.status, TaskStatus::Done);
    let after = browser.ask("POST", &path, &[], "").await;
    assert_eq!(after.json()["error"]["data"]["reason"], "wrong-state", "it is whole");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_is_the_uis_and_hardened() {
    let installation = Installation::start().await;
    let browser = Browser { installation: &installation, origin: None, cookie: None };
    // Whether the UI was built into this binary does not matter here: a page comes in either case.
    for path in ["/", "/vms/web-1"] {
        let answer = browser.ask("GET", path, &["accept: text/html"], "").await;
        assert!(matches!(answer.status, 200 | 503), "{path}: {}", answer.status);
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
    let gone = browser.ask("GET", "/assets/old-00000000.js", &["accept: */*"], "").await;
    assert_eq!(gone.status, 404);
    installation.stop().await;
}
