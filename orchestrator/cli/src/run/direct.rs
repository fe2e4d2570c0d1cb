//! Straight to a host: what is large never passes through the orchestrator.
//!
//! A ticket says where the host is and who signed its certificate. That authority alone is trusted, and the name in
//! the certificate is checked, whatever address leads there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::blocking::Client;
use xenith_common_pki::authority_client_config;
use xenith_common_text::chain;
use xenith_vmware_import::upload::ReceivingHost;

use crate::words;

/// A client for the host at `address` (`host:port`), and the start of its URLs. Transfers may take any time.
pub fn to_host(address: &str, server_name: &str, authority_pem: &str) -> Result<(Client, String), String> {
    let (http, base) = way(address, server_name, authority_pem)?;
    let http = reqwest::blocking::ClientBuilder::from(http).timeout(None);
    Ok((http.build().map_err(|error| error.to_string())?, base))
}

/// The same, for who sends a disk.
pub fn to_receiving_host(
    address: &str,
    server_name: &str,
    authority_pem: &str,
) -> Result<(ReceivingHost, String), String> {
    let (http, base) = way(address, server_name, authority_pem)?;
    Ok((ReceivingHost::new(http).map_err(|error| chain(&error))?, base))
}

fn way(address: &str, server_name: &str, authority_pem: &str) -> Result<(ClientBuilder, String), String> {
    let tls = authority_client_config(authority_pem, &[b"http/1.1"]).map_err(|error| error.to_string())?;
    let (_, port) = address.rsplit_once(':').ok_or("the host's address has no port")?;
    let addresses: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|error| format!("{address} cannot be found: {}", words::io(&error)))?
        .collect();
    let http = ClientBuilder::new()
        .tls_backend_preconfigured(tls)
        .resolve_to_addrs(server_name, &addresses)
        .connect_timeout(Duration::from_secs(10))
        .no_proxy();
    Ok((http, format!("https://{server_name}:{port}")))
}
