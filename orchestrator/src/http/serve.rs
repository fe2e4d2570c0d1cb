//! Accepting connections until told to stop.
//!
//! What always holds: there are so many at once, and from one address, or site of IPv6, no more than a quarter of them.
//! What a connection may cost is known, and one stranger keeps nobody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use xenith_common_tasks::TaskSet;

use crate::enrol::CallerAddress;
use crate::rpc::site;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Open connections of all kinds. Each costs some ten KiB.
const CONNECTIONS: usize = 8192;
/// Of these, from one address: also all that a reverse proxy, or a company behind one address, needs.
const FROM_ONE: usize = CONNECTIONS / 4;

/// Open connections, by who has them.
#[derive(Debug, Default)]
struct Callers(Mutex<HashMap<IpAddr, usize>>);

/// One of them.
#[derive(Debug)]
struct Counted {
    callers: Arc<Callers>,
    from: IpAddr,
}

impl Callers {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: this one has enough.
    fn count(self: &Arc<Self>, from: IpAddr) -> Option<Counted> {
        let from = site(from);
        let mut open = self.open();
        let its = open.entry(from).or_default();
        if *its >= FROM_ONE {
            return None;
        }
        *its += 1;
        Some(Counted { callers: Arc::clone(self), from })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.callers.open();
        if let Some(its) = open.get_mut(&self.from) {
            *its -= 1;
            if *its == 0 {
                open.remove(&self.from);
            }
        }
    }
}

/// Serves `router` until `tasks` end.
pub fn serve(listener: TcpListener, tls: ServerConfig, router: Router, tasks: &TaskSet) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (places, callers) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Callers::default()));
    let (owned, token) = (tasks.clone(), tasks.token());
    tasks.spawn("http-accept", async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = token.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let Some(counted) = callers.count(from.ip()) else {
                tracing::debug!(%from, "a connection too many from there");
                continue;
            };
            let service = router.clone().layer(Extension(CallerAddress(from)));
            let (acceptor, closing) = (acceptor.clone(), owned.token());
            owned.spawn("http-connection", async move {
                let _until_it_ends = (place, counted);
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = connection(acceptor, tcp, service) => {}
                }
            });
        }
    });
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream, service: Router) {
    if let Err(error) = tcp.set_nodelay(true) {
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
        .keep_alive_interval(Some(Duration::from_secs(20)));
    let served =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)).await;
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stranger_keeps_nobody_else_out() {
        let callers = Arc::new(Callers::default());
        let from = |address: &str| address.parse::<IpAddr>().unwrap();
        let mut theirs: Vec<_> =
            (0..FROM_ONE).map(|_| callers.count(from("2001:db8:1:2::1")).unwrap()).collect();
        assert!(callers.count(from("2001:db8:1:2:ffff::9")).is_none(), "the same site");
        assert!(callers.count(from("2001:db8:1:3::1")).is_some(), "another");
        assert!(callers.count(from("192.0.2.1")).is_some());
        theirs.pop();
        assert!(callers.count(from("2001:db8:1:2::1")).is_some(), "one has ended");
        drop(theirs);
        assert!(callers.open().is_empty(), "who has none is not remembered");
    }
}
