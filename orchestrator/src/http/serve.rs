//! HTTPS on each connection that is taken.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xenith_common_accept::{Limit, accept};
use xenith_common_tasks::TaskSet;

use super::paced::{Pace, Paced};
use crate::enrol::CallerAddress;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Open connections of all kinds. Each costs some ten KiB. The quarter that one address gets is what a reverse proxy, or a
/// company behind one address, needs.
const CONNECTIONS: usize = 8192;
/// Who takes nothing for so long is gone: the kernel ends the connection then. In milliseconds.
const STUCK: u32 = 60_000;
/// Who does not answer a ping may be slow to take what is before it, which is while it is not read from either.
pub(super) const UNHEARD: Duration = Duration::from_secs(600);

/// Serves `router` until `tasks` end.
pub fn serve(listener: TcpListener, tls: ServerConfig, router: Router, tasks: &TaskSet) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    accept(listener, Limit { name: "http-connection", at_once: CONNECTIONS }, tasks, move |tcp, from| {
        let pace = Pace::default();
        let router = router.clone().layer(Extension(CallerAddress(from))).layer(Extension(pace.clone()));
        connection(acceptor.clone(), (tcp, pace), router)
    });
}

async fn connection(acceptor: TlsAcceptor, (tcp, pace): (TcpStream, Pace), service: Router) {
    let prepared = tcp.set_nodelay(true);
    let prepared = prepared.and_then(|()| set_tcp_user_timeout(&tcp, STUCK).map_err(io::Error::from));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        // Port scanners and browsers that do not trust us yet: no news for the log.
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HANDSHAKE);
    builder
        .http2()
        .timer(hyper_util::rt::TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(UNHEARD);
    let stream = TokioIo::new(Paced::new(stream, pace));
    let served = builder.serve_connection_with_upgrades(stream, TowerToHyperService::new(service)).await;
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended with an error");
    }
}
