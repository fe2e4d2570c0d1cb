//! The browser UI, out of the binary.
//!
//! What `npm run build` made lies in the binary as it is and, where that is smaller, compressed with brotli.
//! Files below `assets/` have their hash in their name and never change; the page itself is asked for anew each
//! time and answered with 304 while it is the same. Every address that is nothing else is the UI's own: it
//! shows what the address names, so that a link can be sent to somebody.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// One file.
pub struct Asset {
    path: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

const PAGE: &str = "index.html";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_EACH_TIME: &str = "no-cache";

/// Shown where the UI should be, when the binary was built without it.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Xenith</title></head><body>\
<h1>The browser UI was not built</h1>\
<p>This orchestrator was compiled without it. <code>make run</code> builds both; by hand: \
<code>cd ui &amp;&amp; npm ci &amp;&amp; npm run build</code>, then compile the orchestrator again. Node.js 20 or newer is needed.</p>\
<p>Everything else works: the command line <code>xenith</code>, and the API at <code>/rpc</code>, \
described by <a href=\"/openrpc.json\">/openrpc.json</a>.</p></body></html>\n";

static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |asset: &Asset| format!("\"{}\"", &blake3::hash(asset.plain).to_hex()[..32]);
    BUILT.iter().map(|asset| header_value(&tag(asset))).collect()
});

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("hexadecimal digits between quotes are a header value")
}

/// Answers what no other route does.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    answer(BUILT, &method, uri.path(), &headers)
}

fn answer(files: &'static [Asset], method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    if method != Method::GET && method != Method::HEAD {
        return nothing_here();
    }
    if let Some(found) = files.iter().position(|asset| asset.path == name) {
        return file(files, found, headers);
    }
    let wants_page = accepts(headers, header::ACCEPT, "text/html") || name.is_empty();
    if !wants_page || name.starts_with("assets/") {
        return nothing_here();
    }
    match files.iter().position(|asset| asset.path == PAGE) {
        Some(page) => file(files, page, headers),
        None => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::SERVICE_UNAVAILABLE, html, NOT_BUILT).into_response()
        }
    }
}

fn file(files: &'static [Asset], index: usize, headers: &HeaderMap) -> Response {
    let asset = &files[index];
    let tag = TAGS.get(index).cloned();
    let caching = if asset.path.starts_with("assets/") { FOR_EVER } else { ASK_EACH_TIME };
    let asked = headers.get(header::IF_NONE_MATCH);
    let same = tag.is_some() && asked == tag.as_ref();
    let brotli = asset.brotli.filter(|_| accepts(headers, header::ACCEPT_ENCODING, "br"));
    let mut response = Response::new(match (same, brotli) {
        (true, _) => Body::empty(),
        (false, Some(packed)) => Body::from(Bytes::from_static(packed)),
        (false, None) => Body::from(Bytes::from_static(asset.plain)),
    });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.path)));
    if brotli.is_some() && !same {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    if let Some(tag) = tag {
        out.insert(header::ETAG, tag);
    }
    response
}

/// Whether a list such as `text/html,*/*;q=0.8` names `wanted`.
fn accepts(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        words.next() == Some(wanted) && !words.any(|word| matches!(word, "q=0" | "q=0.0"))
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn nothing_here() -> Response {
    (
        StatusCode::NOT_FOUND,
        "Nothing is here. The API is at /rpc (JSON-RPC 2.0), its document at /openrpc.json.\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILES: &[Asset] = &[
        Asset { path: "index.html", plain: b"<!doctype html>", brotli: None },
        Asset { path: "assets/a-1234.js", plain: b"plain", brotli: Some(b"packed") },
    ];

    fn ask(files: &'static [Asset], path: &str, headers: &[(header::HeaderName, &'static str)]) -> Response {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        answer(files, &Method::GET, path, &headers)
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        const HTML: (header::HeaderName, &str) = (header::ACCEPT, "text/html,*/*;q=0.8");
        for (name, path, headers, status, kind) in [
            ("the page", "/", vec![], 200, Some("text/html; charset=utf-8")),
            ("a place within", "/vms/web-1", vec![HTML], 200, Some("text/html; charset=utf-8")),
            ("not for programs", "/vms/web-1", vec![], 404, None),
            ("a script", "/assets/a-1234.js", vec![], 200, Some("text/javascript; charset=utf-8")),
            ("an old script", "/assets/a-0000.js", vec![HTML], 404, None),
        ] {
            let response = ask(FILES, path, &headers);
            assert_eq!(response.status(), status, "{name}");
            if let Some(kind) = kind {
                assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{name}");
            }
        }
        let page = ask(FILES, "/", &[]);
        assert_eq!(page.headers()[header::CACHE_CONTROL], ASK_EACH_TIME);
        let script = ask(FILES, "/assets/a-1234.js", &[(header::ACCEPT_ENCODING, "gzip, br")]);
        assert_eq!(script.headers()[header::CONTENT_ENCODING], "br");
        assert_eq!(script.headers()[header::CACHE_CONTROL], FOR_EVER);
        let refused = ask(FILES, "/assets/a-1234.js", &[(header::ACCEPT_ENCODING, "br;q=0")]);
        assert!(!refused.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[test]
    fn without_a_ui_a_page_says_so() {
        let response = ask(&[], "/", &[]);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(NOT_BUILT.contains("npm run build"));
    }
}
