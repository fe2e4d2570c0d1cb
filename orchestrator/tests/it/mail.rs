//! E-mail through the API, to a small SMTP server on loopback.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xenith_common_pki::{Authority, LiveIdentity, web_server_config};
use xenith_orchestrator_api::{Method, mail};
use xenith_orchestrator_types::mail::MailSettings;
use xenith_orchestrator_types::{Empty, Reason};

use crate::harness::{Installation, api_error};

/// What a client did, line by line; a message is one line.
type Seen = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Starttls,
    Tls,
    Open,
}

pub struct Server {
    pub port: u16,
    authority_pem: String,
    seen: Seen,
}

impl Server {
    pub async fn start(kind: Kind) -> Self {
        let (authority, _) = Authority::generate().unwrap();
        let later = time::OffsetDateTime::now_utc() + time::Duration::days(1);
        let (key, chain) =
            authority.issue_web(&["localhost".to_owned()], &[IpAddr::from([127, 0, 0, 1])], later).unwrap();
        let mut config = web_server_config(LiveIdentity::new(&key, &chain).unwrap()).unwrap();
        config.alpn_protocols.clear();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let told = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One that gives up in the middle is seen as such.
                let _ended = serve(stream, kind, acceptor.clone(), &told).await;
            }
        });
        Self { port, authority_pem: authority.certificate_pem().to_owned(), seen }
    }

    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, kind: Kind, acceptor: TlsAcceptor, seen: &Seen) -> std::io::Result<()> {
    match kind {
        Kind::Tls => talk(acceptor.accept(stream).await?, Kind::Open, true, seen).await.map(drop),
        Kind::Open => talk(stream, Kind::Open, true, seen).await.map(drop),
        Kind::Starttls => match talk(stream, Kind::Starttls, true, seen).await? {
            Some(stream) => talk(acceptor.accept(stream).await?, Kind::Open, false, seen).await.map(drop),
            None => Ok(()),
        },
    }
}

/// `Some`: the client wants to go on in private.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    kind: Kind,
    greets: bool,
    seen: &Seen,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 here\r\n").await?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        seen.lock().unwrap().push(line.clone());
        let verb = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        let answer: &[u8] = match (verb.as_str(), kind) {
            ("EHLO", Kind::Starttls) => b"250-here\r\n250 STARTTLS\r\n",
            ("EHLO", _) => b"250-here\r\n250 AUTH PLAIN LOGIN\r\n",
            ("STARTTLS", _) => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            // "\0anna\0right", in base 64
            ("AUTH", _) if line.ends_with(" AGFubmEAcmlnaHQ=") => b"235 welcome\r\n",
            ("AUTH", _) => b"535 wrong password\r\n",
            ("DATA", _) => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut message).await? == 0 {
                        return Ok(None);
                    }
                }
                seen.lock().unwrap().push(message);
                b"250 taken\r\n"
            }
            ("RCPT", _) if line.contains("nobody@") => b"550 nobody of that name\r\n",
            ("QUIT", _) => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).await?;
    }
}

async fn set(installation: &Installation, server: &Server, more: Value) -> MailSettings {
    let mut settings = json!({
        "server": "127.0.0.1", "port": server.port, "from": "Xenith <xenith@example.org>",
        "authority_pem": server.authority_pem,
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call::<mail::Set>(installation, settings).await
}

async fn call<M: Method>(installation: &Installation, params: Value) -> M::Result {
    let params: M::Params = serde_json::from_value(params).unwrap();
    installation.admin.call::<M>(&params).await.unwrap_or_else(|error| panic!("{}: {error}", M::NAME))
}

async fn refused<M: Method>(installation: &Installation, params: Value) -> (Reason, String)
where
    M::Result: std::fmt::Debug,
{
    let params: M::Params = serde_json::from_value(params).unwrap();
    let error = api_error(installation.admin.call::<M>(&params).await);
    (error.reason(), error.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_out_in_private_and_signed_in() {
    let installation = Installation::start().await;
    let to = json!({ "to": "ops@example.org" });
    let (reason, text) = refused::<mail::Test>(&installation, to.clone()).await;
    assert!(reason == Reason::WrongState && text.contains("xenith mail set"), "{text}");
    for (kind, security) in [(Kind::Starttls, "starttls"), (Kind::Tls, "tls")] {
        let server = Server::start(kind).await;
        let anna = json!({ "security": security, "user": "anna", "password": "right" });
        let shown = set(&installation, &server, anna).await;
        assert!(shown.has_password && !serde_json::to_string(&shown).unwrap().contains("right"));
        call::<mail::Test>(&installation, to.clone()).await;
        let seen = server.seen();
        let at = |what: &str| {
            seen.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {seen:?}"))
        };
        assert!(at("AUTH") < at("MAIL FROM:<xenith@example.org>"), "{seen:?}");
        assert!(at("MAIL") < at("RCPT TO:<ops@example.org>"), "{seen:?}");
        if kind == Kind::Starttls {
            assert!(at("STARTTLS") < at("AUTH"), "no password in the open: {seen:?}");
        }
        let message = &seen[at("DATA") + 1];
        assert!(
            message.contains("Subject: Xenith: a test") && message.contains("can send mail"),
            "{message}"
        );
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_refuses_is_said_and_no_password_goes_astray() {
    let installation = Installation::start().await;
    let (to, nobody) = (json!({ "to": "ops@example.org" }), json!({ "to": "nobody@example.org" }));
    let server = Server::start(Kind::Starttls).await;
    set(&installation, &server, json!({ "user": "anna", "password": "wrong" })).await;
    let (_, text) = refused::<mail::Test>(&installation, to.clone()).await;
    assert!(text.contains("wrong password"), "{text}");
    set(&installation, &server, json!({ "user": "anna", "password": "right" })).await;
    // It stays where it is known, and is asked for where it is not.
    assert!(
        set(&installation, &server, json!({ "user": "anna", "from": "x@example.org" })).await.has_password
    );
    let (_, text) = refused::<mail::Test>(&installation, nobody).await;
    assert!(text.contains("nobody of that name"), "{text}");
    let other =
        json!({ "server": "localhost", "port": server.port, "user": "anna", "from": "x@example.org" });
    let (reason, text) = refused::<mail::Set>(&installation, other).await;
    assert!(reason == Reason::Invalid && text.contains("password"), "{text}");
    // A certificate that nobody knows, and a server that cannot go on in private.
    server.seen();
    let mut unknown = json!({ "user": "anna", "password": "right" });
    unknown["authority_pem"] = json!(Authority::generate().unwrap().0.certificate_pem());
    set(&installation, &server, unknown).await;
    refused::<mail::Test>(&installation, to.clone()).await;
    assert!(!server.seen().iter().any(|line| line.starts_with("AUTH")));
    let open = Server::start(Kind::Open).await;
    set(&installation, &open, json!({ "user": "anna", "password": "right" })).await;
    refused::<mail::Test>(&installation, to.clone()).await;
    assert!(!open.seen().iter().any(|line| line.starts_with("AUTH")));
    let in_the_open =
        json!({ "server": "localhost", "security": "none", "user": "a", "from": "x@example.org" });
    assert_eq!(refused::<mail::Set>(&installation, in_the_open).await.0, Reason::Invalid);
    // Without a password a server in the open will do.
    set(&installation, &open, json!({ "security": "none" })).await;
    call::<mail::Test>(&installation, to.clone()).await;
    call::<mail::Set>(&installation, json!({ "server": "" })).await;
    assert_eq!(call::<mail::Get>(&installation, json!(Empty {})).await, MailSettings::default());
    assert_eq!(refused::<mail::Test>(&installation, to).await.0, Reason::WrongState);
    installation.stop().await;
}
