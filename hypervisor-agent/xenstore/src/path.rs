//! Paths, checked before they are sent: what xenstored answers to a bad one is a bare EINVAL.

use xenith_common_ids::DomId;

use crate::error::XenstoreError;
use crate::wire::ABSOLUTE_PATH_MAX;

/// `/local/domain/<domid>`, where a domain's part of the store is.
#[must_use]
pub fn domain_path(domain: DomId) -> String {
    format!("/local/domain/{domain}")
}

/// An absolute path of letters, digits and `-/_@` (xenstore.txt), without empty parts.
pub fn check(path: &str) -> Result<(), XenstoreError> {
    let reason = match path {
        "/" => return Ok(()),
        _ if path.len() > ABSOLUTE_PATH_MAX => "it is longer than 3072 bytes",
        _ if !path.starts_with('/') => "it does not begin with /",
        _ if path.ends_with('/') => "it ends with /",
        _ if path.contains("//") => "it has an empty part",
        _ if !path.bytes().all(is_allowed) => "it has a character other than letters, digits and -/_@",
        _ => return Ok(()),
    };
    Err(XenstoreError::InvalidPath { path: path.chars().take(200).collect(), reason })
}

/// A path, or one of the daemon's own events such as `@releaseDomain`.
pub fn check_watchable(path: &str) -> Result<(), XenstoreError> {
    match path.strip_prefix('@') {
        Some(name) if !name.is_empty() && name.len() < 64 && name.bytes().all(is_allowed) => Ok(()),
        _ => check(path),
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let long = format!("/{}", "a".repeat(ABSOLUTE_PATH_MAX));
        for (name, path, valid, watchable) in [
            ("root", "/", true, true),
            ("plain", "/local/domain/0/name", true, true),
            ("all kinds of characters", "/a-b/c_d/e@f", true, true),
            ("relative", "name", false, false),
            ("empty", "", false, false),
            ("ends with a slash", "/a/", false, false),
            ("empty part", "/a//b", false, false),
            ("space", "/a b", false, false),
            ("NUL would cut the request in two", "/a\0b", false, false),
            ("not ASCII", "/ä", false, false),
            ("too long", &long, false, false),
            ("special", "@releaseDomain", false, true),
            ("nameless special", "@", false, false),
        ] {
            assert_eq!(check(path).is_ok(), valid, "{name}");
            assert_eq!(check_watchable(path).is_ok(), watchable, "{name}, watched");
        }
    }
}
