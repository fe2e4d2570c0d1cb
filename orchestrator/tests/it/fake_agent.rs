//! A host that has joined and whose agent is not ours: it answers what a test lets it answer.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use xenith_common_pki::{KeyAndRequest, LiveIdentity, server_config};
use xenith_hypervisor_agent_api::JoinToken;
use xenith_hypervisor_agent_client::{JoinRequest, join};

use crate::harness::Installation;

/// Joins as `name`, with a certificate as any host has one, and answers each request by `router` until it is aborted.
pub async fn fake_agent(installation: &Installation, name: &str, router: axum::Router) -> JoinHandle<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token: JoinToken = installation.join_token(name).await.parse().unwrap();
    let key = KeyAndRequest::generate().unwrap();
    let request = JoinRequest {
        certificate_request_pem: key.request_pem.clone(),
        hostname: name.into(),
        address: listener.local_addr().unwrap().to_string(),
        agent_version: "9.9.9".into(),
    };
    let joined = join(&token, request).await.unwrap();
    let identity = LiveIdentity::new(&key.key_pem, &joined.certificate_pem).unwrap();
    let authority = installation.orchestrator.as_ref().unwrap().app.certificates.authority();
    let tls = TlsAcceptor::from(Arc::new(server_config(identity, authority.certificate()).unwrap()));
    tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            let (tls, router) = (tls.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(tcp).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let http2 = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ended_by_the_other_side = http2.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
