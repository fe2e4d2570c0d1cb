//! Signing in and out of a browser: the session in a cookie that no script can read.
//!
//! `POST /session` is `auth.login`, asked of the API itself like any other call (so that it is limited, slowed
//! down and audited in the one place), with the session taken out of the answer and put into the cookie.
//! `DELETE /session` is `auth.logout` and drops the cookie whatever happens.

use std::net::IpAddr;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use xenith_orchestrator_types::{ApiError, Reason};

use super::Rpc;
use super::origin::{COOKIE, Sender, sender};
use crate::authn::SESSION_LIFE;
use crate::enrol::CallerAddress;
use crate::rpc::Credentials;

/// A name, a password and a code.
const MAX_BODY: usize = 4096;
/// An answer to signing in or out, or a ticket with a certificate.
const MAX_ANSWER: usize = 1 << 16;

pub(super) fn failed(status: StatusCode, error: &ApiError) -> Response {
    let code = error.reason().code();
    let body = json!({ "error": { "code": code, "message": error.message, "data": error.data } });
    (status, Json(body)).into_response()
}

/// The answer to a request that a page of another server caused.
pub fn foreign() -> Response {
    let message = "this page does not come from this orchestrator; open the orchestrator's own address";
    failed(StatusCode::FORBIDDEN, &ApiError::new(Reason::Forbidden, message))
}

fn set_cookie(response: &mut Response, value: &str, seconds: u64) {
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

pub async fn open(
    State(rpc): State<Rpc>,
    caller: Option<Extension<CallerAddress>>,
    request: Request<Body>,
) -> Response {
    let Sender::Page(_) = sender(request.uri(), request.headers()) else { return foreign() };
    let from = caller.map(|Extension(caller)| caller.0.ip());
    let wrong = |problem: &str| failed(StatusCode::BAD_REQUEST, &ApiError::invalid("params", problem));
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_none_or(|kind| !kind.starts_with("application/json")) {
        return wrong("must be sent as application/json");
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_BODY).await else {
        return wrong("is too large");
    };
    let Ok(params) = serde_json::from_slice::<Value>(&body) else { return wrong("must be JSON") };
    let mut answer = match ask(&rpc, "auth.login", params, (None, from)).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    let Some(Value::String(secret)) = answer.get_mut("session").map(Value::take) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("session");
    }
    let mut response = Json(answer).into_response();
    set_cookie(&mut response, &secret, SESSION_LIFE.as_secs());
    response
}

pub async fn close(
    State(rpc): State<Rpc>,
    caller: Option<Extension<CallerAddress>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Sender::Page(secret) = sender(&uri, &headers) else { return foreign() };
    let from = caller.map(|Extension(caller)| caller.0.ip());
    if secret.is_some()
        && let Err(answer) = ask(&rpc, "auth.logout", json!({}), (secret, from)).await
    {
        // Over already, most likely; what matters is that the browser forgets it.
        tracing::debug!(status = %answer.status(), "a browser's session could not be ended");
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, "", 0);
    response
}

/// One call of the API; a refusal comes back as the response to give.
pub(super) async fn ask(
    rpc: &Rpc,
    method: &str,
    params: Value,
    (secret, from): (Option<String>, Option<IpAddr>),
) -> Result<Value, Response> {
    let broken = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, method, "a call for a browser did not work");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    };
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = Request::post("/rpc")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(call.to_string()))
        .map_err(|error| broken(&error))?;
    let response = rpc.answer(Credentials { secret, from }, request).await;
    let body =
        axum::body::to_bytes(response.into_body(), MAX_ANSWER).await.map_err(|error| broken(&error))?;
    let mut answer: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    match answer.get_mut("error").map(Value::take) {
        None => Ok(answer["result"].take()),
        Some(error) => {
            let status = match error["data"]["reason"].as_str() {
                Some("unauthenticated") => StatusCode::UNAUTHORIZED,
                Some("throttled") => StatusCode::TOO_MANY_REQUESTS,
                Some("read-only" | "internal") => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            Err((status, Json(json!({ "error": error }))).into_response())
        }
    }
}
