//! Where an orchestrator is.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::ClientError;

/// `https://host:port`, nothing more. Without a port, 8443; without a scheme, https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    port: u16,
}

impl Endpoint {
    /// Where an orchestrator listens unless told otherwise.
    pub const DEFAULT_PORT: u16 = 8443;

    /// Host and port for a TCP connection.
    #[must_use]
    pub fn address(&self) -> (String, u16) {
        let host = match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        (host, self.port)
    }

    /// The name that the certificate has to be for.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, ClientError> {
        ServerName::try_from(self.address().0).map_err(|_| ClientError::BadUrl {
            url: self.to_string(),
            problem: "its host is neither a name nor an address",
        })
    }

    /// For the WebSocket's handshake inside TLS that is open already: `wss` would ask the library to do TLS.
    pub(crate) fn web_socket(&self) -> String {
        self.web_socket_at("/rpc")
    }

    pub(crate) fn web_socket_at(&self, path: &str) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("ws://{host}:{}{path}", self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}", self.url.host_str().unwrap_or_default(), self.port)
    }
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let bad = |problem| ClientError::BadUrl { url: text.to_owned(), problem };
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|_| bad("write it as https://host:8443"))?;
        if url.scheme() != "https" {
            return Err(bad("only https is served"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("leave the user out of it; sign in with --user"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("leave out what follows the port"));
        }
        // `Url` drops :443 as https' own; who wrote it meant it.
        let written = full.trim_end_matches('/').ends_with(":443").then_some(443);
        let port = url.port().or(written).unwrap_or(Self::DEFAULT_PORT);
        Ok(Self { url, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("xen.example.com", Some("https://xen.example.com:8443")),
            ("https://xen.example.com", Some("https://xen.example.com:8443")),
            ("https://xen.example.com:443/", Some("https://xen.example.com:443")),
            ("localhost:9000", Some("https://localhost:9000")),
            ("https://[::1]:8443", Some("https://[::1]:8443")),
            ("10.0.0.1", Some("https://10.0.0.1:8443")),
            ("http://xen.example.com", None),
            ("https://admin:secret@xen", None),
            ("https://xen/rpc", None),
            ("https://", None),
            ("", None),
            ("xen example", None),
        ] {
            let endpoint = text.parse::<Endpoint>().ok().map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), shown, "{text}");
        }
        let v6: Endpoint = "https://[::1]:8443".parse().unwrap();
        assert_eq!(v6.address(), ("::1".to_owned(), 8443));
        assert_eq!(v6.web_socket(), "ws://[::1]:8443/rpc");
    }
}
