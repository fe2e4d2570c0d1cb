//! What requests carry, whole before anybody works on them.
//!
//! What always holds: who does not end a request has no place among the calls, and keeps nobody else out. What of a request
//! has come waits here for the rest, so long and no longer; of such there are so many at once, and from one site no more
//! than a quarter of them. That bounds the memory that strangers have, whatever they begin. What is uploaded does not pass
//! here.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;
use tonic::{Code, Status};
use xenith_common_accept::Places;
use xenith_orchestrator_types::{ApiError, Reason};

use super::MAX_REQUEST;
use super::session::failed;
use crate::enrol::CallerAddress;

/// Requests of which the rest is waited for. Each may have a MiB.
const WAITING: usize = 512;
/// For all of a request. A definition of some KiB comes with its head; a MiB takes this over half a megabit a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(super) struct Bodies {
    places: Places,
    patience: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { places: Places::new(WAITING), patience: PATIENCE }
    }
}

/// Hands on requests that are whole.
pub(super) async fn whole(
    State(bodies): State<Bodies>,
    caller: Option<Extension<CallerAddress>>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let from = caller.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(caller)| caller.0.ip());
    let (parts, body) = request.into_parts();
    let Some(place) = bodies.places.take(from) else { return Refused::TooMany.to(&parts.headers) };
    let read = timeout(bodies.patience, axum::body::to_bytes(body, MAX_REQUEST as usize)).await;
    drop(place);
    match read {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        // Or it broke, and nobody is there to be told.
        Ok(Err(_)) => Refused::TooLarge.to(&parts.headers),
        Err(_) => Refused::Late.to(&parts.headers),
    }
}

#[derive(Debug, Clone, Copy)]
enum Refused {
    TooMany,
    TooLarge,
    Late,
}

impl Refused {
    /// In the words of who asks: hosts that join speak gRPC.
    fn to(self, headers: &HeaderMap) -> Response {
        let (status, reason, code, text) = match self {
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                Reason::Throttled,
                Code::ResourceExhausted,
                "too many requests are not ended yet; try again when some are",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Reason::Invalid,
                Code::OutOfRange,
                "the request is larger than a MiB",
            ),
            Self::Late => (
                StatusCode::REQUEST_TIMEOUT,
                Reason::Invalid,
                Code::DeadlineExceeded,
                "the request did not end in time",
            ),
        };
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") {
            return Status::new(code, text).into_http();
        }
        failed(status, &ApiError::new(reason, text))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use bytes::Bytes;
    use futures::stream;
    use tower::ServiceExt;

    use super::*;

    fn router(at_once: usize, patience: Duration) -> Router {
        let bodies = Bodies { places: Places::new(at_once), patience };
        Router::new()
            .route("/", post(|body: Bytes| async move { body.len().to_string() }))
            .layer(from_fn_with_state(bodies, whole))
    }

    async fn ask(router: Router, from: &str, body: Body) -> StatusCode {
        let address = CallerAddress(SocketAddr::new(from.parse().unwrap(), 1));
        let request = Request::post("/").extension(address).body(body).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    fn endless() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    }

    #[tokio::test]
    async fn what_does_not_end_or_is_too_large_is_refused() {
        let router = router(4, Duration::from_millis(50));
        let largest = Body::from(vec![b' '; MAX_REQUEST as usize]);
        let larger = Body::from(vec![b' '; MAX_REQUEST as usize + 1]);
        for (case, body, status) in [
            ("nothing", Body::empty(), StatusCode::OK),
            ("the largest", largest, StatusCode::OK),
            ("a byte more", larger, StatusCode::PAYLOAD_TOO_LARGE),
            ("without an end", endless(), StatusCode::REQUEST_TIMEOUT),
            ("again: the place is free", Body::from("{}"), StatusCode::OK),
        ] {
            assert_eq!(ask(router.clone(), "192.0.2.1", body).await, status, "{case}");
        }
    }

    #[tokio::test]
    async fn who_ends_no_request_keeps_nobody_else_out() {
        let router = router(4, Duration::from_secs(60));
        let held = tokio::spawn(ask(router.clone(), "192.0.2.1", endless()));
        // It is held when the next one from there is refused.
        let refused = async {
            while ask(router.clone(), "192.0.2.1", Body::from("{}")).await != StatusCode::TOO_MANY_REQUESTS {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
        assert_eq!(ask(router.clone(), "192.0.2.1", Body::empty()).await, StatusCode::OK, "nothing waits");
        assert_eq!(ask(router.clone(), "192.0.2.2", Body::from("{}")).await, StatusCode::OK);
        held.abort();
        assert!(held.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(ask(router, "192.0.2.1", Body::from("{}")).await, StatusCode::OK, "its place is free");
    }
}
