//! `mount`: the disks of all backups as read-only files, `NAME/ID.raw` and `NAME/latest.raw`, through FUSE.
//!
//! The list is that of the start. The kernel never sees a guest's filesystem unless somebody mounts one of the
//! files; `files` reads them without.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEntry, Request,
};
use xenith_backup::index::Index;
use xenith_backup::manifest::DiskRecord;
use xenith_backup::reader::BackupDisk;
use xenith_backup::{Repository, gc};
use xenith_common_block::BlockSource;

/// Nothing changes while it is mounted.
const TTL: Duration = Duration::from_secs(3600);

struct Node {
    name: String,
    parent: u64,
    /// Milliseconds since 1970.
    created: u64,
    /// The disk of a file; folders have none.
    disk: Option<DiskRecord>,
}

struct Backups {
    repo: Repository,
    index: Arc<Index>,
    /// Inode 1 is the first.
    nodes: Vec<Node>,
    /// The disks read last: each holds a cache.
    opened: Mutex<Vec<(u64, Arc<BackupDisk>)>>,
}

/// A disk's name as one folder's: none leads elsewhere.
fn folder_name(name: &str) -> String {
    match name {
        "." | ".." => name.replace('.', "_"),
        name => name.replace('/', "_"),
    }
}

impl Backups {
    const OPENED: usize = 4;

    fn new(repo: Repository) -> anyhow::Result<Self> {
        let (manifests, _) = gc::visible(&repo)?;
        let mut nodes = vec![Node { name: String::new(), parent: 1, created: 0, disk: None }];
        let folder = |nodes: &mut Vec<Node>, name: &str| {
            let name = folder_name(name);
            let known =
                nodes.iter().position(|node| node.disk.is_none() && node.parent == 1 && node.name == name);
            known.unwrap_or_else(|| {
                nodes.push(Node { name, parent: 1, created: 0, disk: None });
                nodes.len() - 1
            }) as u64
                + 1
        };
        for manifest in &manifests {
            for disk in &manifest.disks {
                let parent = folder(&mut nodes, &disk.name);
                nodes.push(Node {
                    name: format!("{}.raw", manifest.id),
                    parent,
                    created: manifest.created,
                    disk: Some(disk.clone()),
                });
            }
        }
        let folders: Vec<u64> =
            (2..=nodes.len() as u64).filter(|n| nodes[*n as usize - 1].disk.is_none()).collect();
        for parent in folders {
            let newest = nodes
                .iter()
                .filter(|node| node.parent == parent)
                .max_by_key(|node| (node.disk.as_ref().map(|disk| disk.number), node.created));
            let newest = newest.map(|node| (node.created, node.disk.clone()));
            if let Some((created, disk)) = newest {
                nodes.push(Node { name: "latest.raw".to_owned(), parent, created, disk });
            }
        }
        let index = Arc::new(Index::load(&repo)?);
        Ok(Self { repo, index, nodes, opened: Mutex::default() })
    }

    fn node(&self, inode: INodeNo) -> Option<&Node> {
        self.nodes.get(usize::try_from(u64::from(inode).checked_sub(1)?).ok()?)
    }

    fn attributes(inode: u64, node: &Node) -> FileAttr {
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(node.created);
        let size = node.disk.as_ref().map_or(0, |disk| disk.size);
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if node.disk.is_some() { FileType::RegularFile } else { FileType::Directory },
            perm: if node.disk.is_some() { 0o400 } else { 0o500 },
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            rdev: 0,
            flags: 0,
            blksize: 128 * 1024,
        }
    }

    fn disk(&self, inode: u64, record: &DiskRecord) -> Arc<BackupDisk> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, disk)) = opened.iter().find(|(known, _)| *known == inode) {
            return Arc::clone(disk);
        }
        if opened.len() >= Self::OPENED {
            opened.remove(0);
        }
        let disk = Arc::new(BackupDisk::new(&self.repo, Arc::clone(&self.index), record));
        opened.push((inode, Arc::clone(&disk)));
        disk
    }
}

impl Filesystem for Backups {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let wanted = |node: &Node| node.parent == u64::from(parent) && OsStr::new(&node.name) == name;
        match self.nodes.iter().skip(1).position(wanted) {
            Some(at) => {
                let inode = at as u64 + 2;
                reply.entry(&TTL, &Self::attributes(inode, &self.nodes[at + 1]), Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(inode) {
            Some(node) => reply.attr(&TTL, &Self::attributes(inode.into(), node)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(record) = self.node(inode).and_then(|node| node.disk.as_ref()) else {
            return reply.error(Errno::ENOENT);
        };
        let len = record.size.saturating_sub(offset).min(size.into());
        let mut bytes = vec![0; len as usize];
        match self.disk(inode.into(), record).read_at(offset.min(record.size), &mut bytes) {
            Ok(()) => reply.data(&bytes),
            Err(error) => {
                tracing::error!(error = %xenith_backup::error::chain(&error), "a read failed");
                reply.error(Errno::EIO);
            }
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(here) = self.node(inode) else { return reply.error(Errno::ENOENT) };
        let dots = [(u64::from(inode), "."), (here.parent, "..")];
        let dots = dots.map(|(inode, name)| (inode, FileType::Directory, name));
        let inside =
            self.nodes.iter().enumerate().skip(1).filter(|(_, node)| node.parent == u64::from(inode));
        let inside =
            inside.map(|(at, node)| (at as u64 + 1, Self::attributes(1, node).kind, node.name.as_str()));
        for (at, (inode, kind, name)) in dots.into_iter().chain(inside).enumerate().skip(offset as usize) {
            if reply.add(INodeNo(inode), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

pub fn run(repo: Repository, folder: &Path) -> anyhow::Result<ExitCode> {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        fuser::MountOption::RO,
        fuser::MountOption::NoDev,
        fuser::MountOption::NoSuid,
        fuser::MountOption::FSName("xenith-backup".to_owned()),
    ];
    let backups = Backups::new(repo)?;
    eprintln!("mounting at {}; end it with `umount {}`", folder.display(), folder.display());
    fuser::mount(backups, folder, &options).with_context(|| {
        format!("cannot mount at {} (is FUSE here?); serve-nbd and files work without", folder.display())
    })?;
    Ok(ExitCode::SUCCESS)
}
