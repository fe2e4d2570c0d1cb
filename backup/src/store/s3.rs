//! S3 and what speaks like it, through the `object_store` crate.
//!
//! `create` is a `PUT` with `If-None-Match: *`; `probe` finds servers that ignore it. A pack is one request of
//! at most 64 MiB: rejected are multipart uploads, which not all servers can make conditional. The crate's own
//! retries are off: a repeated conditional `PUT` would meet its own first try, and only [`super::RetryingStore`]
//! looks whether it did.
//!
//! A call may take a minute and what its bytes take at 64 KiB/s: a pack goes over a slow line, and a connection that is
//! dead is noticed.
//!
//! Calls block their thread while a small runtime of this store's own does the talking. Credentials and
//! endpoint come from the usual `AWS_*` variables.

mod locked;

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{
    ClientConfigKey, ClientOptions, ObjectStore as _, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use tokio::runtime::Runtime;

use self::locked::Locks;
use super::{Lock, ObjectInfo, ObjectKey, ObjectStore, StoreError};

/// How long a request of that many bytes may take. The crate's own half minute for everything is less than a pack needs
/// at 2 MiB/s.
fn patience(bytes: u64) -> Duration {
    const SLOWEST: u64 = 64 << 10;
    Duration::from_secs(60 + bytes / SLOWEST)
}

/// A bucket, or a part of one.
pub struct S3Store {
    runtime: Runtime,
    inner: AmazonS3,
    locks: Locks,
    prefix: String,
    name: String,
}

/// Makes the client as usual, and keeps it for requests of our own: with the same certificates, proxy and connections.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<OnceLock<HttpClient>>);

impl HttpConnector for Shared {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(self.0.get_or_init(|| client).clone())
    }
}

/// Who opens a bucket, and where. `Debug` is not derived: it would show the secret.
#[derive(Clone)]
pub struct S3Credentials {
    pub access_key: String,
    pub secret_key: String,
    /// Empty for AWS's own. Plain HTTP only where it says so.
    pub endpoint: String,
    /// Empty for `us-east-1`, which servers other than AWS's mostly take.
    pub region: String,
}

impl S3Store {
    /// Opens `s3://bucket/prefix` with the credentials of the environment.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let builder = AmazonS3Builder::from_env();
        // Plain HTTP only where the endpoint says so: a server on the own machine or network.
        let plain = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|value| value.starts_with("http://")));
        Self::with(url, builder.with_allow_http(plain))
    }

    /// The same with credentials given.
    pub fn open_as(url: &str, as_whom: &S3Credentials) -> Result<Self, StoreError> {
        let S3Credentials { access_key, secret_key, endpoint, region } = as_whom;
        let region = if region.is_empty() { "us-east-1" } else { region };
        let mut builder = AmazonS3Builder::new()
            .with_access_key_id(access_key)
            .with_secret_access_key(secret_key)
            .with_region(region);
        if !endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        Self::with(url, builder)
    }

    /// The same with a prepared builder.
    pub fn with(url: &str, builder: AmazonS3Builder) -> Result<Self, StoreError> {
        let unfit = |why: &str| StoreError::Unsuitable(format!("{url}: {why}"));
        let rest = url.strip_prefix("s3://").ok_or_else(|| unfit("not of the form s3://bucket/prefix"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(unfit("it names no bucket"));
        }
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let connector = Shared::default();
        let setting = |key| AmazonS3ConfigKey::Client(key);
        let inner = builder
            .with_http_connector(connector.clone())
            // `patience` is the limit; this one only has to be no shorter.
            .with_config(setting(ClientConfigKey::Timeout), "1 hour")
            .with_config(setting(ClientConfigKey::ConnectTimeout), "10 seconds")
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .build()
            .map_err(|error| unfit(&error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Refused { action: "reach", key: url.to_owned(), source })?;
        let prefix = prefix.trim_matches('/').to_owned();
        let client = connector.0.get().cloned().ok_or_else(|| unfit("there is no client for it"))?;
        Ok(Self {
            runtime,
            locks: Locks { signer: inner.clone(), client },
            inner,
            prefix,
            name: url.to_owned(),
        })
    }

    fn path(&self, key: &str) -> Path {
        Path::from(if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) })
    }

    fn wait<T>(
        &self,
        (action, key, bytes): (&'static str, &str, u64),
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(patience(bytes), call).await });
        let late = || StoreError::Unavailable {
            action,
            key: key.to_owned(),
            source: std::io::ErrorKind::TimedOut.into(),
        };
        answer.map_err(|_| late())?.map_err(|error| translate(error, action, key))
    }
}

fn translate(error: object_store::Error, action: &'static str, key: &str) -> StoreError {
    use object_store::Error;
    let key = key.to_owned();
    match error {
        Error::NotFound { .. } => StoreError::NotFound { key },
        Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreError::AlreadyExists { key },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::InvalidPath { .. } => {
            StoreError::Refused { action, key, source: std::io::Error::other(error) }
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            StoreError::Unsuitable(error.to_string())
        }
        other => StoreError::Unavailable { action, key, source: std::io::Error::other(other) },
    }
}

impl ObjectStore for S3Store {
    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        let path = self.path(key.as_str());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let body: PutPayload = parts.iter().cloned().collect();
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let put = self.wait(("create", key.as_str(), bytes), self.inner.put_opts(&path, body, options));
        match put {
            // Also what becomes of a 409: somebody else was at the same key, and perhaps nothing is there now.
            Err(StoreError::AlreadyExists { key: taken }) => match self.size(key) {
                Err(StoreError::NotFound { .. }) => Err(StoreError::Unavailable {
                    action: "create",
                    key: taken,
                    source: std::io::ErrorKind::ResourceBusy.into(),
                }),
                _ => Err(StoreError::AlreadyExists { key: taken }),
            },
            other => other.map(|_| ()),
        }
    }

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let path = self.path(key.as_str());
        let read = self.wait(
            ("read", key.as_str(), range.end.saturating_sub(range.start)),
            self.inner.get_range(&path, range.clone()),
        );
        match read {
            // A range behind the end is an error to S3 and nothing to us.
            Err(StoreError::Unavailable { .. }) if self.size(key)? <= range.start => Ok(Bytes::new()),
            other => other,
        }
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let path = self.path(key.as_str());
        self.wait(("look at", key.as_str(), 0), self.inner.head(&path)).map(|meta| meta.size)
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // The crate lists whole folders only: a prefix that ends within a name would match nothing.
        let folder = self.path(prefix.rsplit_once('/').map_or("", |(folder, _)| folder));
        let own = self.path("");
        let ours = |meta: object_store::ObjectMeta| {
            let text = meta.location.as_ref().strip_prefix(own.as_ref())?.trim_start_matches('/');
            let key = ObjectKey::parse(text).filter(|key| key.as_str().starts_with(prefix))?;
            let modified = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
            Some(ObjectInfo { key, size: meta.size, modified })
        };
        let mut listed = self.inner.list(Some(&folder));
        while let Some(meta) = self.wait(("list", prefix, 0), listed.try_next())? {
            ours(meta).map_or(Ok(()), &mut *take)?;
        }
        Ok(())
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.path(key.as_str());
        match self.wait(("delete", key.as_str(), 0), self.inner.delete(&path)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        self.put_locked(key, parts, lock)
    }

    fn extend_lock(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        self.put_retention(key, lock)
    }

    fn lock_of(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        self.retention(key)
    }

    fn purge(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.delete_version(key)
    }

    fn clock(&self) -> Result<u64, StoreError> {
        self.date()
    }
}
