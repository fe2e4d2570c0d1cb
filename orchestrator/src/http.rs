//! The one port: browsers, the API, consoles, what browsers upload, and hosts that join.
//!
//! TLS always. Which certificate is shown follows the name that is asked for: our own authority's for hosts
//! (`*.xenith.internal`), the configured one for everybody else.

mod assets;
mod body;
mod console;
mod metrics;
mod origin;
mod paced;
mod page;
mod serve;
mod session;
mod tls;
mod upload;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use jsonrpsee::server::{
    BatchRequestConfig, PingConfig, ServerConfig, ServerHandle, StopHandle, TowerServiceBuilder, stop_channel,
};
use jsonrpsee::{Methods, RpcModule};
use tower::Service;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_types::ApiError;

use crate::app::App;
use crate::enrol::{CallerAddress, Enrol};
use crate::rpc::{Credentials, Gate, document};
use body::Bodies;
use origin::{Sender, sender};
use page::Pages;
use upload::Uploads;

pub use serve::serve;
pub use tls::WebCertificates;

/// A definition with every disk and NIC is a few KiB; nothing of the API comes near this.
const MAX_REQUEST: u32 = 1 << 20;
const MAX_RESPONSE: u32 = 32 << 20;
/// Never reached: connections are counted where they are taken ([`serve`]). jsonrpsee counts each call over HTTP as one more;
/// with a bound that can be reached, who holds many open keeps everybody else out.
const MAX_CONNECTIONS: u32 = 1 << 20;
const MAX_SUBSCRIPTIONS: u32 = 64;
const MAX_BATCH: u32 = 100;

/// Browsers get nothing from anywhere else, run nothing that stands in a page, and nobody frames us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Clone)]
struct Rpc {
    methods: Methods,
    builder: TowerServiceBuilder<tower::layer::util::Identity, tower::layer::util::Identity>,
    stop: StopHandle,
}

/// All routes. The handle ends open WebSockets when it is stopped.
pub fn router(app: &Arc<App>, module: RpcModule<Gate>, enrol: Enrol) -> (Router, ServerHandle) {
    let (stop, handle) = stop_channel();
    let config = ServerConfig::builder()
        .max_request_body_size(MAX_REQUEST)
        .max_response_body_size(MAX_RESPONSE)
        .max_connections(MAX_CONNECTIONS)
        .max_subscriptions_per_connection(MAX_SUBSCRIPTIONS)
        .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
        .enable_ws_ping(PingConfig::new().inactive_limit(serve::UNHEARD))
        .build();
    let builder = jsonrpsee::server::Server::builder().set_config(config).to_service_builder();
    let rpc = Rpc { methods: module.into(), builder, stop };
    let enrolment = tonic::service::Routes::new(enrol.into_server()).into_axum_router();
    let router = Router::new()
        .route("/session", post(session::open).delete(session::close).with_state(rpc.clone()))
        .route("/upload/import", get(page::connect).with_state(Pages::new(rpc.clone())))
        .route("/rpc", any(call).with_state(rpc.clone()))
        .route("/console/{ticket}", any(console::connect).with_state(Arc::clone(app)))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready).with_state(Arc::clone(app)))
        .route("/metrics", get(metrics::show).with_state(Arc::clone(app)))
        .route("/openrpc.json", get(openrpc).with_state(Arc::clone(app)))
        .merge(enrolment)
        .fallback(assets::serve)
        .layer(axum::middleware::from_fn_with_state(Bodies::default(), body::whole))
        // Behind that: what is uploaded is as long as a disk.
        .route("/upload/{vdi}", post(upload::look).put(upload::take).with_state(Uploads::new(rpc)))
        .layer(axum::middleware::map_response(harden));
    (router, handle)
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// Not ready: the store does not write.
async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    match app.read_only() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("read-only: {reason}\n")),
    }
}

/// What is told to anybody costs who asks for it a call.
async fn openrpc(State(app): State<Arc<App>>, caller: Option<Extension<CallerAddress>>) -> Response {
    let from = caller.map(|Extension(caller)| caller.0.ip());
    match app.rate.check(&Caller::anonymous(from)) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], document().get()).into_response(),
        Err(error) => too_often(&error),
    }
}

fn too_often(error: &ApiError) -> Response {
    let seconds = error.data.retry_after_s.unwrap_or(1);
    let headers = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, headers, format!("{}\n", error.message)).into_response()
}

async fn call(
    State(rpc): State<Rpc>,
    caller: Option<Extension<CallerAddress>>,
    request: Request<Body>,
) -> Response {
    let secret = match sender(request.uri(), request.headers()) {
        Sender::Foreign => return session::foreign(),
        Sender::Nobody => None,
        Sender::Bearer(secret) => Some(secret),
        Sender::Page(secret) => secret,
    };
    let from = caller.map(|Extension(caller)| caller.0.ip());
    rpc.answer(Credentials { secret, from }, request).await
}

impl Rpc {
    async fn answer(&self, credentials: Credentials, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(credentials);
        let mut service = self.builder.clone().build(self.methods.clone(), self.stop.clone());
        match service.call(request).await {
            Ok(response) => response.map(Body::new).into_response(),
            Err(error) => {
                tracing::warn!(error, "a request could not be answered");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
