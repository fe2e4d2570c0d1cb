//! A real S3 server on loopback, over a folder; and one whose bucket has object lock.
//!
//! The first is `s3s-fs` as it comes. It knows no locks, so the second adds what the S3 API reference says of them: a
//! version of each object, a retention that only grows, a delete of a version that is refused while it is locked, and one
//! without a version that only hides. Signatures, checksums and conditions are checked by `s3s` in both.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use object_store::aws::AmazonS3Builder;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use xenith_backup::store::S3Store;

/// A server which ends with the value.
pub struct Server {
    pub endpoint: String,
    reachable: tokio::sync::watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Cuts every connection and takes no other, until it is told to be there again.
    pub fn set_reachable(&self, reachable: bool) {
        self.reachable.send_replace(reachable);
    }
}

pub fn server() -> Server {
    start(|files| files)
}

/// The same with object lock, and what it knows.
pub fn locking_server() -> (Server, Arc<Bucket>) {
    let bucket = Arc::new(Bucket::default());
    let known = Arc::clone(&bucket);
    (start(move |files| Locking { files, bucket: known }), bucket)
}

fn start<S: S3>(service: impl FnOnce(s3s_fs::FileSystem) -> S) -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bucket")).unwrap();
    let files = s3s_fs::FileSystem::new(dir.path()).unwrap();
    let mut builder = s3s::service::S3ServiceBuilder::new(service(files));
    builder.set_auth(s3s::auth::SimpleAuth::from_single("key", "secret"));
    let service = builder.build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (reachable, watched) = tokio::sync::watch::channel(true);
    runtime.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (service, mut watched) = (service.clone(), watched.clone());
            tokio::spawn(async move {
                let http = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                tokio::select! {
                    biased;
                    _ = watched.wait_for(|reachable| !reachable) => {}
                    _ = http.serve_connection(hyper_util::rt::TokioIo::new(socket), service) => {}
                }
            });
        }
    });
    Server { endpoint, reachable, _runtime: runtime, _dir: dir }
}

pub fn store(endpoint: &str, url: &str) -> S3Store {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_region("here")
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    S3Store::with(url, builder).unwrap()
}

/// What a bucket with object lock knows of its objects.
#[derive(Default)]
pub struct Bucket {
    locks: Mutex<HashMap<String, ObjectLockRetention>>,
    hidden: Mutex<HashSet<String>>,
}

impl Bucket {
    /// Keys that a delete without a version only hid.
    pub fn hidden(&self) -> Vec<String> {
        self.hidden.lock().unwrap().iter().cloned().collect()
    }

    pub fn locked(&self) -> Vec<String> {
        self.locks.lock().unwrap().keys().cloned().collect()
    }

    fn check_visible(&self, key: &str) -> S3Result<()> {
        if self.hidden.lock().unwrap().contains(key) { Err(s3_error!(NoSuchKey)) } else { Ok(()) }
    }

    fn lock(&self, key: String, new: ObjectLockRetention) -> S3Result<()> {
        let mut locks = self.locks.lock().unwrap();
        let now = Some(Timestamp::from(SystemTime::now()));
        let shorter = locks.get(&key).is_some_and(|old| old.retain_until_date > new.retain_until_date);
        if new.retain_until_date <= now || shorter {
            return Err(s3_error!(InvalidArgument, "The retain until date must be in the future"));
        }
        locks.insert(key, new);
        Ok(())
    }
}

struct Locking {
    files: s3s_fs::FileSystem,
    bucket: Arc<Bucket>,
}

const VERSION: &str = "one";

#[async_trait::async_trait]
impl S3 for Locking {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let (key, mode) = (req.input.key.clone(), req.input.object_lock_mode.clone());
        let until = req.input.object_lock_retain_until_date.clone();
        if mode.is_some() && req.input.checksum_sha256.is_none() && req.input.content_md5.is_none() {
            return Err(s3_error!(InvalidRequest, "Content-MD5 or x-amz-checksum- is required to lock"));
        }
        let put = self.files.put_object(req).await?;
        if let Some(mode) = mode {
            let mode = Some(ObjectLockRetentionMode::from(mode.as_str().to_owned()));
            self.bucket.lock(key, ObjectLockRetention { mode, retain_until_date: until })?;
        }
        Ok(put)
    }

    async fn put_object_retention(
        &self,
        req: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        self.bucket.check_visible(&req.input.key)?;
        self.bucket.lock(req.input.key, req.input.retention.ok_or_else(|| s3_error!(MalformedXML))?)?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    async fn get_object_retention(
        &self,
        req: S3Request<GetObjectRetentionInput>,
    ) -> S3Result<S3Response<GetObjectRetentionOutput>> {
        self.bucket.check_visible(&req.input.key)?;
        let retention = self.bucket.locks.lock().unwrap().get(&req.input.key).cloned();
        if retention.is_none() {
            let mut error = s3_error!(NoSuchObjectLockConfiguration);
            error.set_status_code(http::StatusCode::NOT_FOUND);
            return Err(error);
        }
        Ok(S3Response::new(GetObjectRetentionOutput { retention }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let key = req.input.key.clone();
        if req.input.version_id.as_deref() != Some(VERSION) {
            self.bucket.hidden.lock().unwrap().insert(key);
            return Ok(S3Response::new(DeleteObjectOutput::default()));
        }
        let now = Some(Timestamp::from(SystemTime::now()));
        if self.bucket.locks.lock().unwrap().get(&key).is_some_and(|lock| lock.retain_until_date > now) {
            return Err(s3_error!(AccessDenied, "Access Denied because object protected by object lock."));
        }
        self.bucket.locks.lock().unwrap().remove(&key);
        self.files.delete_object(req).await
    }

    // What `object_store` deletes with, also one object.
    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let named = req.input.delete.objects;
        assert!(named.iter().all(|object| object.version_id.is_none()), "versions are deleted one by one");
        let keys = named.into_iter().map(|object| object.key);
        let gone = |key: &String| DeletedObject { key: Some(key.clone()), ..DeletedObject::default() };
        let mut hidden = self.bucket.hidden.lock().unwrap();
        let deleted = keys.map(|key| {
            hidden.insert(key.clone());
            gone(&key)
        });
        let deleted = deleted.collect();
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.bucket.check_visible(&req.input.key)?;
        self.files.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.bucket.check_visible(&req.input.key)?;
        let mut head = self.files.head_object(req).await?;
        head.output.version_id = Some(VERSION.to_owned());
        Ok(head)
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut listed = self.files.list_objects_v2(req).await?;
        if let Some(contents) = &mut listed.output.contents {
            contents.retain(|object| {
                object.key.as_deref().is_none_or(|key| self.bucket.check_visible(key).is_ok())
            });
        }
        Ok(listed)
    }
}
