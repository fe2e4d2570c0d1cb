//! Which requests a browser may make with its cookie.
//!
//! A browser sends its cookie whoever made it ask. So the cookie counts only together with an `Origin` that is
//! this very server's (browsers set it on every POST and every WebSocket, and no script can change it), and a
//! request from any other origin is refused, whatever it brings. Programs send no `Origin` and a bearer.

use axum::http::{HeaderMap, Uri, header};

pub const COOKIE: &str = "__Host-xenith-session";

/// What a request says of its sender.
#[derive(Debug, PartialEq, Eq)]
pub enum Sender {
    /// A page of another server made a browser ask.
    Foreign,
    Nobody,
    /// A program with a session or token.
    Bearer(String),
    /// A page of ours, with the session in its cookie.
    Page(Option<String>),
}

#[must_use]
pub fn sender(uri: &Uri, headers: &HeaderMap) -> Sender {
    let from_us = match headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
        None => false,
        Some(origin) if is_ours(origin, uri, headers) => true,
        Some(_) => return Sender::Foreign,
    };
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(secret) = authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        return Sender::Bearer(secret.trim().to_owned());
    }
    if from_us { Sender::Page(cookie(headers)) } else { Sender::Nobody }
}

/// `https://host[:port]` against the name that the request was sent to: `:authority`, or `Host`.
fn is_ours(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = uri.authority().map(axum::http::uri::Authority::as_str).or(host);
    match (origin.strip_prefix("https://"), asked) {
        (Some(origin), Some(asked)) => {
            let plain = |name: &str| name.strip_suffix(":443").unwrap_or(name).to_ascii_lowercase();
            plain(origin) == plain(asked)
        }
        _ => false,
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_cookie_counts_only_from_our_own_page() {
        const OURS: &str = "__Host-xenith-session=xs1-a";
        let page = |secret: &str| Sender::Page(Some(secret.to_owned()));
        for (name, origin, cookie, authorization, expected) in [
            ("a program without anything", None, None, None, Sender::Nobody),
            ("a program", None, None, Some("Bearer xt1-b"), Sender::Bearer("xt1-b".to_owned())),
            ("our page", Some("https://xen.test:8443"), Some(OURS), None, page("xs1-a")),
            ("our page, letters", Some("https://XEN.test:8443"), Some(OURS), None, page("xs1-a")),
            (
                "our page, other cookies",
                Some("https://xen.test:8443"),
                Some("a=b; __Host-xenith-session=c"),
                None,
                page("c"),
            ),
            ("our page, signed out", Some("https://xen.test:8443"), None, None, Sender::Page(None)),
            ("no origin", None, Some(OURS), None, Sender::Nobody),
            ("another server", Some("https://evil.test"), Some(OURS), None, Sender::Foreign),
            ("another port", Some("https://xen.test:9000"), Some(OURS), None, Sender::Foreign),
            ("without TLS", Some("http://xen.test:8443"), Some(OURS), None, Sender::Foreign),
            ("a sandbox", Some("null"), Some(OURS), None, Sender::Foreign),
            (
                "another server with a token",
                Some("https://evil.test"),
                None,
                Some("Bearer b"),
                Sender::Foreign,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("xen.test:8443"));
            for (header, value) in
                [(header::ORIGIN, origin), (header::COOKIE, cookie), (header::AUTHORIZATION, authorization)]
            {
                if let Some(value) = value {
                    headers.insert(header, HeaderValue::from_static(value));
                }
            }
            assert_eq!(sender(&Uri::from_static("/rpc"), &headers), expected, "{name}");
        }
    }
}
