//! What `object_store` has no calls for: objects created with a lock, longer locks, one version of an object deleted.
//!
//! Each is one request with a signed URL, which that crate makes: it knows the endpoint, the credentials and the region.
//! The headers are signed too; the body is covered by a checksum, which S3 demands of whoever locks (`PutObject` in the S3
//! API reference: `Content-MD5` or `x-amz-sdk-checksum-algorithm`), and which the store compares with what it got.
//!
//! Locks are on versions of objects, in buckets that keep versions. A delete that names no version would succeed and only
//! hide the object; so these name the version that is there.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use super::{S3Store, patience, translate};
use crate::store::{Lock, LockMode, ObjectKey, StoreError};

/// How long a URL may take to be used: as far apart as clocks may be for S3.
const URL_LASTS: Duration = Duration::from_secs(15 * 60);
/// Answers to these requests are a few lines of XML.
const MOST_ANSWERED: usize = 64 << 10;

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// The text of the first element of that name, which S3 neither nests nor escapes where it is asked for here.
    fn tag(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0)
    }

    fn code(&self) -> &str {
        self.tag("Code").unwrap_or_default()
    }

    fn into_error(self, action: &'static str, key: &ObjectKey) -> StoreError {
        let (code, said) = (self.code(), self.tag("Message").unwrap_or_default());
        let source = std::io::Error::other(format!("{} {code} {said}", self.status));
        let key = key.to_string();
        let busy = self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT)
            || matches!(code, "RequestTimeout" | "SlowDown");
        match self.status {
            StatusCode::NOT_FOUND if code != "NoSuchBucket" => StoreError::NotFound { key },
            StatusCode::PRECONDITION_FAILED => StoreError::AlreadyExists { key },
            _ if busy => StoreError::Unavailable { action, key, source },
            _ => StoreError::Refused { action, key, source },
        }
    }
}

fn named(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it has only letters, digits and punctuation of ASCII")
}

/// Whole seconds, the next one: some servers take no fractions.
fn date(millis: u64) -> String {
    let seconds = i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX);
    let last =
        OffsetDateTime::from_unix_timestamp(253_402_300_799).expect("the last second of the year 9999");
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(last);
    at.format(&Rfc3339).expect("every time until then has this form")
}

fn parse_date(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

fn checksum(parts: &[Bytes]) -> HeaderValue {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    header(&BASE64.encode(sha.finalize()))
}

/// Requests that carry locks.
pub(super) struct Locks {
    pub signer: AmazonS3,
    pub client: HttpClient,
}

impl S3Store {
    fn ask(
        &self,
        (action, key): (&'static str, &ObjectKey),
        method: Method,
        signed: SignedUrlOptions,
        body: &[Bytes],
    ) -> Result<Answer, StoreError> {
        let path = self.path(key.as_str());
        let length: usize = body.iter().map(Bytes::len).sum();
        let unavailable = |error: &dyn std::fmt::Display| StoreError::Unavailable {
            action,
            key: key.to_string(),
            source: std::io::Error::other(error.to_string()),
        };
        let call = async {
            let url = self.locks.signer.signed_url_opts(method.clone(), &path, URL_LASTS, &signed).await;
            let url = url.map_err(|error| translate(error, action, key.as_str()))?;
            let payload: PutPayload = body.iter().cloned().collect();
            let mut request = HttpRequest::new(HttpRequestBody::from(payload));
            *request.method_mut() = method;
            *request.uri_mut() = url.as_str().parse().map_err(|error| unavailable(&error))?;
            *request.headers_mut() = signed.signed_headers.clone();
            request.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
            let answer = self.locks.client.execute(request).await.map_err(|error| unavailable(&error))?;
            let (parts, body) = answer.into_parts();
            let body = body.bytes().await.map_err(|error| unavailable(&error))?;
            let body = String::from_utf8_lossy(&body[..body.len().min(MOST_ANSWERED)]).into_owned();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        let late = |_| unavailable(&"no answer in time");
        self.runtime
            .block_on(async { tokio::time::timeout(patience(length as u64), call).await.map_err(late)? })
    }

    pub(super) fn put_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        let signed = SignedUrlOptions::new()
            .with_signed_header(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"))
            .with_signed_header(named("x-amz-sdk-checksum-algorithm"), HeaderValue::from_static("SHA256"))
            .with_signed_header(named("x-amz-checksum-sha256"), checksum(parts))
            .with_signed_header(named("x-amz-object-lock-mode"), HeaderValue::from_static(lock.mode.name()))
            .with_signed_header(named("x-amz-object-lock-retain-until-date"), header(&date(lock.until)));
        let answer = self.ask(("create", key), Method::PUT, signed, parts)?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.into_error("create", key)) }
    }

    pub(super) fn put_retention(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        let body = [Bytes::from(format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock.mode.name(),
            date(lock.until)
        ))];
        let signed = SignedUrlOptions::new()
            .with_query([("retention", "")])
            .with_signed_header(named("x-amz-sdk-checksum-algorithm"), HeaderValue::from_static("SHA256"))
            .with_signed_header(named("x-amz-checksum-sha256"), checksum(&body));
        let answer = self.ask(("lock", key), Method::PUT, signed, &body)?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.into_error("lock", key)) }
    }

    pub(super) fn retention(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        let head = self.ask(("read the lock of", key), Method::HEAD, SignedUrlOptions::new(), &[])?;
        if !head.status.is_success() {
            return Err(head.into_error("read the lock of", key));
        }
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let mode = text("x-amz-object-lock-mode").and_then(LockMode::parse);
        let until = text("x-amz-object-lock-retain-until-date").and_then(parse_date);
        if let Some((mode, until)) = mode.zip(until) {
            return Ok(Some(Lock { mode, until }));
        }
        // No lock, or no right to see it: the head does not say which.
        let signed = SignedUrlOptions::new().with_query([("retention", "")]);
        let answer = self.ask(("read the lock of", key), Method::GET, signed, &[])?;
        // The bucket has no locks at all, or this object has none.
        let none =
            ["InvalidRequest", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"];
        if none.contains(&answer.code()) {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(answer.into_error("read the lock of", key));
        }
        let mode = answer.tag("Mode").and_then(LockMode::parse);
        let until = answer.tag("RetainUntilDate").and_then(parse_date);
        Ok(mode.zip(until).map(|(mode, until)| Lock { mode, until }))
    }

    /// Deletes the version that is there, so that nothing of it is left.
    pub(super) fn delete_version(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.path(key.as_str());
        let version = match self.wait(("look at", key.as_str(), 0), self.locks.signer.head(&path)) {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            other => other?.version,
        };
        let named = version.into_iter().map(|version| ("versionId", version));
        let signed = SignedUrlOptions::new().with_query(named);
        let answer = self.ask(("delete", key), Method::DELETE, signed, &[])?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let refused = answer.into_error("delete", key);
        // Servers have different words for it; the lock itself is the same everywhere.
        if let StoreError::Refused { .. } = refused
            && let Some(Lock { until, .. }) = self.retention(key)?
            // The clock is told in seconds, and went on since the refusal.
            && until + 2000 > self.date()?
        {
            return Err(StoreError::Locked { key: key.to_string(), until });
        }
        Err(refused)
    }

    /// The clock in the head of an answer; this machine's where a server says none.
    pub(super) fn date(&self) -> Result<u64, StoreError> {
        let key = ObjectKey::new("config".to_owned());
        let answer = self.ask(("look at", &key), Method::HEAD, SignedUrlOptions::new(), &[])?;
        let said = answer.headers.get(http::header::DATE).and_then(|value| value.to_str().ok());
        let at = said.and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok());
        let millis = at.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
        Ok(millis.unwrap_or_else(crate::repo::now_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_s3() {
        assert_eq!(date(1_796_000_000_001), "2026-11-30T00:53:21Z");
        for text in ["2026-11-30T00:53:21Z", "2026-11-30T00:53:21.000Z", "2026-11-30T01:53:21+01:00"] {
            assert_eq!(parse_date(text), Some(1_796_000_001_000), "{text}");
        }
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(parse_date("tomorrow"), None);
        let http = OffsetDateTime::parse("Mon, 30 Nov 2026 00:53:21 GMT", &Rfc2822).unwrap();
        assert_eq!(http.unix_timestamp(), 1_796_000_001);
    }

    #[test]
    fn answers_become_errors_that_say_what_helps() {
        let key = ObjectKey::new("config".to_owned());
        let error = |status: u16, code: &str| {
            let body = format!("<Error><Code>{code}</Code><Message>why</Message></Error>");
            let status = StatusCode::from_u16(status).unwrap();
            Answer { status, headers: HeaderMap::new(), body }.into_error("create", &key)
        };
        for (status, code) in
            [(500, ""), (503, "SlowDown"), (409, "ConditionalRequestConflict"), (400, "RequestTimeout")]
        {
            assert!(error(status, code).is_retryable(), "{status} {code}");
        }
        for (status, code) in
            [(403, "AccessDenied"), (400, "InvalidRequest"), (501, "NotImplemented"), (404, "NoSuchBucket")]
        {
            assert!(matches!(error(status, code), StoreError::Refused { .. }), "{status} {code}");
        }
        assert!(matches!(error(412, "PreconditionFailed"), StoreError::AlreadyExists { .. }));
        assert!(matches!(error(404, "NoSuchKey"), StoreError::NotFound { .. }));
    }
}
