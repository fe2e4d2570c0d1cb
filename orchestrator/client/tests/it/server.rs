//! An orchestrator with canned answers: jsonrpsee's server behind real TLS, and a relay in front of it that can be
//! cut, so that a connection breaks without a word. It remembers what it was asked.
//!
//! The tests of the CLI use this file too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use jsonrpsee::server::{Server, StopHandle, TowerServiceBuilder, stop_channel};
use jsonrpsee::types::ErrorObject;
use jsonrpsee::{Methods, RpcModule, SubscriptionMessage};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;
use tower::layer::util::Identity;
use xenith_common_pki::{Authority, Fingerprint, LiveIdentity, web_server_config};
use xenith_orchestrator_api::{Kind, SUBSCRIPTIONS};
use xenith_orchestrator_types::ApiError;

/// One call that arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Without the two that every mutation may have.
    pub params: Value,
    pub key: Option<String>,
    pub dry_run: bool,
    pub bearer: Option<String>,
}

/// What a method does when it is called.
#[derive(Clone)]
pub enum Answer {
    Ok(Value),
    Refuse(ApiError),
    /// Cuts all connections instead of answering, the first time; answers from then on.
    CutThen(Value),
}

#[derive(Clone, Default)]
struct Bearer(Option<String>);

struct Shared {
    answers: Mutex<HashMap<String, Answer>>,
    /// Items of each subscription, sent one after the other; then it stays open.
    feeds: Mutex<HashMap<String, Vec<Value>>>,
    asked: Mutex<Vec<Asked>>,
    subscribed: AtomicU32,
    relayed: Mutex<JoinSet<()>>,
}

pub struct FakeOrchestrator {
    pub address: SocketAddr,
    pub authority: Fingerprint,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl FakeOrchestrator {
    pub async fn start() -> Self {
        xenith_common_pki::install_provider();
        let (authority, _key) = Authority::generate().unwrap();
        let expires = OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let loopback = [[127, 0, 0, 1].into()];
        let (key, chain) = authority.issue_web(&["xen.test".into()], &loopback, expires).unwrap();
        let tls = web_server_config(LiveIdentity::new(&key, &chain).unwrap()).unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            feeds: Mutex::default(),
            asked: Mutex::default(),
            subscribed: AtomicU32::new(0),
            relayed: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server_address = server.local_addr().unwrap();
        let listener = TlsListener { tcp: server, tls: TlsAcceptor::from(Arc::new(tls)) };
        tasks.spawn(answer_calls(listener, module(&shared)));
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = relay.local_addr().unwrap();
        let relays = Arc::clone(&shared);
        tasks.spawn(async move {
            loop {
                let (mut near, _) = relay.accept().await.unwrap();
                relays.relayed.lock().unwrap().spawn(async move {
                    let mut far = TcpStream::connect(server_address).await.unwrap();
                    let _either_side_ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, authority: authority.fingerprint(), shared, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn on(&self, method: &str, answer: Answer) {
        self.shared.answers.lock().unwrap().insert(method.to_owned(), answer);
    }

    pub fn answer(&self, method: &str, value: impl serde::Serialize) {
        self.on(method, Answer::Ok(serde_json::to_value(value).unwrap()));
    }

    pub fn feed(&self, subscription: &str, items: Vec<Value>) {
        self.shared.feeds.lock().unwrap().insert(subscription.to_owned(), items);
    }

    /// Ends every connection as a pulled cable does, or nearly.
    pub fn cut(&self) {
        cut(&self.shared);
    }

    /// Calls so far, subscriptions included; they are forgotten here.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// How often anybody subscribed.
    pub fn subscribed(&self) -> u32 {
        self.shared.subscribed.load(Ordering::SeqCst)
    }
}

fn cut(shared: &Shared) {
    shared.relayed.lock().unwrap().abort_all();
}

/// TLS for axum. One handshake after the other: tests have few.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, from) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(tcp).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[derive(Clone)]
struct Rpc {
    methods: Methods,
    builder: TowerServiceBuilder<Identity, Identity>,
    stop: StopHandle,
}

async fn rpc(State(rpc): State<Rpc>, mut request: Request) -> Response {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    request.extensions_mut().insert(Bearer(bearer));
    let mut service = rpc.builder.build(rpc.methods, rpc.stop);
    service.call(request).await.unwrap().map(Body::new)
}

async fn answer_calls(listener: TlsListener, module: RpcModule<Arc<Shared>>) {
    let (stop, _never_stopped) = stop_channel();
    let builder = Server::builder().to_service_builder();
    let state = Rpc { methods: module.into(), builder, stop };
    axum::serve(listener, Router::new().route("/rpc", any(rpc)).with_state(state)).await.unwrap();
}

fn module(shared: &Arc<Shared>) -> RpcModule<Arc<Shared>> {
    let mut module = RpcModule::new(Arc::clone(shared));
    for method in xenith_orchestrator_api::methods() {
        module
            .register_async_method(method.name, move |params, shared, extensions| async move {
                let bearer = extensions.get::<Bearer>().cloned().unwrap_or_default();
                let dry_run = shared.note(method.name, params.as_str(), bearer);
                assert!(!dry_run || method.kind == Kind::Plannable, "{} cannot be planned", method.name);
                shared.respond(method.name, dry_run)
            })
            .unwrap();
    }
    for info in SUBSCRIPTIONS {
        module
            .register_subscription(
                info.name,
                info.notification,
                info.unsubscribe,
                move |params, pending, shared, extensions| async move {
                    let bearer = extensions.get::<Bearer>().cloned().unwrap_or_default();
                    shared.note(info.name, params.as_str(), bearer);
                    let Ok(sink) = pending.accept().await else { return };
                    shared.subscribed.fetch_add(1, Ordering::SeqCst);
                    let items = shared.feeds.lock().unwrap().get(info.name).cloned().unwrap_or_default();
                    for item in items {
                        let raw = serde_json::value::to_raw_value(&item).unwrap();
                        if sink.send(SubscriptionMessage::from(raw)).await.is_err() {
                            return;
                        }
                    }
                    sink.closed().await;
                },
            )
            .unwrap();
    }
    module
}

impl Shared {
    fn note(&self, method: &str, params: Option<&str>, Bearer(bearer): Bearer) -> bool {
        let mut params: Value = serde_json::from_str(params.unwrap_or("{}")).unwrap();
        let fields = params.as_object_mut().expect("parameters are an object");
        let key = fields.remove("idempotency_key").map(|key| key.as_str().unwrap().to_owned());
        let dry_run = fields.remove("dry_run").is_some_and(|flag| flag == json!(true));
        self.asked.lock().unwrap().push(Asked { method: method.to_owned(), params, key, dry_run, bearer });
        dry_run
    }

    fn respond(&self, method: &str, dry_run: bool) -> Result<Value, ErrorObject<'static>> {
        if dry_run {
            return Ok(json!({ "plan": { "host": "xen1", "steps": ["place", "make disk"] } }));
        }
        let mut answers = self.answers.lock().unwrap();
        match answers.get(method).cloned() {
            Some(Answer::Ok(value)) => Ok(value),
            Some(Answer::Refuse(error)) => {
                Err(ErrorObject::owned(error.reason().code(), error.message, Some(error.data)))
            }
            Some(Answer::CutThen(value)) => {
                answers.insert(method.to_owned(), Answer::Ok(value.clone()));
                cut(self);
                Ok(value)
            }
            None => {
                Err(ErrorObject::owned(-32603, format!("the test gave no answer for {method}"), None::<()>))
            }
        }
    }
}
