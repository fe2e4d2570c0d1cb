//! Addresses as they may be told: without what opens them.
//!
//! What always holds: of a text, however odd, only the parts of URLs are left out that hold passwords and signatures, and
//! it costs what the text is long.

use std::borrow::Cow;

/// Stands for what was left out.
const HIDDEN: &str = "(hidden)";

/// A text whose URLs have no user, password, query and fragment any more: credentials and signatures are there. Scheme, host
/// and path stay. What cannot be read as a URL is left out rather than told.
#[must_use]
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    const BEFORE_HOST: &str = "://";
    if !text.contains(BEFORE_HOST) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BEFORE_HOST) {
        let (before, after) = rest.split_at(at + BEFORE_HOST.len());
        let (url, behind) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        shown.push_str(before);
        push_bare(url, &mut shown);
        rest = behind;
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Of a URL, what comes behind the scheme.
fn push_bare(url: &str, shown: &mut String) {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // A password that was not escaped may have a slash in it; then what looks like a port is none.
    let odd = authority.rsplit_once(':').is_some_and(|(_, port)| !is_port(port));
    let user = authority.rfind('@').or_else(|| url.rfind('@').filter(|_| odd));
    let bare = user.map_or(url, |at| &url[at..]);
    if user.is_some() {
        shown.push_str(HIDDEN);
    }
    // A URL within the path has secrets of its own.
    let told = bare.find(['?', '#']).into_iter().chain(bare.find("://")).min();
    let Some(told) = told else { return shown.push_str(bare) };
    // With the character that says what is left out.
    shown.push_str(&bare[..=told]);
    shown.push_str(HIDDEN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_path_are_told_and_nothing_that_opens() {
        for (case, text, told) in [
            ("no URL", "name:web-1 user@host?", "name:web-1 user@host?"),
            ("nothing secret", "https://mirror:8443/a/b.qcow2", "https://mirror:8443/a/b.qcow2"),
            ("a password", "https://ann:pass@mirror/a@b", "https://(hidden)@mirror/a@b"),
            ("an odd password", "https://ann:p@ss@mirror/a", "https://(hidden)@mirror/a"),
            ("not escaped", "https://ann:pa/s?s@mirror/a", "https://(hidden)@mirror/a"),
            ("a signature", "https://s3/b/k?X-Amz-Signature=aa&b=c", "https://s3/b/k?(hidden)"),
            ("a token behind a hash", "https://h/#token=aa", "https://h/#(hidden)"),
            ("no path", "https://h?sig=aa", "https://h?(hidden)"),
            ("an address with colons", "https://[::1]/a", "https://[::1]/a"),
            ("one within one", "http://cache/https://a:b@h/x", "http://cache/https:(hidden)"),
            (
                "within words",
                "get s3://k:s@b/x first, then ftp://h/y?z",
                "get s3://(hidden)@b/x first, then ftp://h/y?(hidden)",
            ),
            ("nothing behind", "x://", "x://"),
            ("not of one byte each", "https://ä:ö@ü/ß?é", "https://(hidden)@ü/ß?(hidden)"),
        ] {
            assert_eq!(without_credentials(text), told, "{case}");
        }
    }
}
