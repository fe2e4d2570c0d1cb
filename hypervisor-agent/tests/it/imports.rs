//! Images from a web server become VDIs: whole, or not at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, StorageCommand};
use xenith_hypervisor_agent_client::{AgentClientError, Wish};
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiFacts};

use crate::harness::{Lab, until};

/// Serves one file, understands `Range` and `If-Range`, and closes each connection after `limit` bytes of it.
struct Server {
    address: SocketAddr,
    content: Arc<Mutex<Vec<u8>>>,
    sent: Arc<AtomicU64>,
}

impl Server {
    fn start(content: Vec<u8>, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, sent) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let content = Arc::new(Mutex::new(content));
        let (counted, served) = (Arc::clone(&sent), Arc::clone(&content));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is what some tests are about.
                let _client_gone = answer(stream, &served.lock().unwrap().clone(), limit, &counted);
            }
        });
        Self { address, content, sent }
    }

    fn url(&self) -> String {
        format!("http://{}/image", self.address)
    }
}

fn answer(mut stream: TcpStream, content: &[u8], limit: u64, sent: &AtomicU64) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let from = head.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
    let version = blake3::hash(content).to_hex();
    let other =
        head.split("if-range: ").nth(1).is_some_and(|rest| !rest.starts_with(&format!("\"{version}\"")));
    let from = if other { 0 } else { from.unwrap_or(0usize) };
    if from >= content.len() {
        return stream.write_all(b"HTTP/1.1 416 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let rest = &content[from..];
    write!(stream, "HTTP/1.1 {status}\r\nETag: \"{version}\"\r\nContent-Length: {}\r\n", rest.len())?;
    stream.write_all(b"Connection: close\r\n\r\n")?;
    let part = &rest[..rest.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
    for piece in part.chunks(64 * 1024) {
        stream.write_all(piece)?;
        sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

fn raw() -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    bytes[..512].fill(0xEB);
    bytes[2 << 20..(2 << 20) + 4096].fill(7);
    bytes
}

async fn sr(lab: &Lab) -> SrId {
    lab.client().hello(lab.epoch, "test").await.unwrap().local_sr
}

async fn import(lab: &Lab, vdi: VdiId, url: String, sha256: &str) -> Result<VdiFacts, Fault> {
    let command = StorageCommand::Import { vdi, sr: sr(lab).await, url, sha256: sha256.to_owned() };
    match lab.execute(Command::Storage(command)).await {
        Ok(CommandResult::Vdi(facts)) => Ok(facts),
        Err(AgentClientError::Refused(fault)) => Err(fault),
        other => panic!("{other:?}"),
    }
}

fn holds(lab: &Lab, vdi: VdiId) -> bool {
    let image = std::fs::File::open(lab.config.storage.join(format!("{vdi}.raw"))).unwrap();
    let (mut first, mut later) = ([0; 512], [0; 4096]);
    image.read_exact_at(&mut first, 0).unwrap();
    image.read_exact_at(&mut later, 2 << 20).unwrap();
    first == [0xEB; 512] && later == [7; 4096]
}

/// What lies in the SR beside VDIs.
fn rest(lab: &Lab) -> Vec<PathBuf> {
    let in_folder = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let ours = in_folder(&lab.config.storage).into_iter();
    let ours = ours.filter(|path| path.extension().is_none_or(|end| end != "raw" && end != "json"));
    ours.chain(in_folder(&lab.config.storage.join("downloads"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_and_qcow2_and_vmdk_become_the_same_disk() {
    let lab = Lab::new().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    std::fs::write(&source, raw()).unwrap();
    let mut images = vec![("raw", raw())];
    for format in ["qcow2", "vmdk", "vpc", "vhdx"] {
        let target = folder.path().join(format);
        let made = Program::new("qemu-img").args(["convert", "-O", format]).args([&source, &target]).status();
        match made {
            Ok(status) => assert!(status.success(), "{format}"),
            Err(error) => {
                eprintln!("skipped: {format} ({error}; install qemu-utils)");
                continue;
            }
        }
        images.push((format, std::fs::read(target).unwrap()));
    }
    for (format, content) in images {
        let server = Server::start(content, u64::MAX);
        let vdi = VdiId::new();
        let facts =
            import(&lab, vdi, server.url(), "").await.unwrap_or_else(|fault| panic!("{format}: {fault}"));
        assert!(facts.size.bytes() >= 3 << 20 && facts.physical < 3 << 20, "{format}: {facts:?}");
        assert!(holds(&lab, vdi), "{format}");
        // Again: done already, without a download.
        let sent = server.sent.load(Ordering::SeqCst);
        import(&lab, vdi, server.url(), "").await.unwrap();
        assert_eq!(server.sent.load(Ordering::SeqCst), sent);
    }
    assert_eq!(rest(&lab), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_goes_on_where_it_was() {
    let mut lab = Lab::new().await;
    let server = Server::start(raw(), 1 << 20);
    let vdi = VdiId::new();
    for _ in 0..2 {
        let fault = import(&lab, vdi, server.url(), "").await.unwrap_err();
        assert!(fault.is_retryable(), "{fault}");
        lab.restart().await;
    }
    import(&lab, vdi, server.url(), "").await.unwrap();
    assert!(holds(&lab, vdi));
    assert_eq!(server.sent.load(Ordering::SeqCst), 3 << 20, "no byte twice");
}

/// Half of one file and half of the next is no image of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_while_it_is_downloaded_is_begun_anew() {
    let lab = Lab::new().await;
    let mut before = raw();
    before[..1 << 20].fill(1);
    let server = Server::start(before, 2 << 20);
    let vdi = VdiId::new();
    assert!(import(&lab, vdi, server.url(), "").await.unwrap_err().is_retryable());
    *server.content.lock().unwrap() = raw();
    // What came of the new one is taken up.
    assert!(import(&lab, vdi, server.url(), "").await.unwrap_err().is_retryable());
    import(&lab, vdi, server.url(), "").await.unwrap();
    assert!(holds(&lab, vdi));
    let image = std::fs::read(lab.config.storage.join(format!("{vdi}.raw"))).unwrap();
    assert!(image == raw(), "of one file");
    assert_eq!(rest(&lab), Vec::<PathBuf>::new());
}

/// A sparse VMDK that gives its one grain to the disk twice.
fn one_grain_twice() -> Vec<u8> {
    let mut file = vec![7; 136 * 512];
    file[..8 * 512].fill(0);
    file[..4].copy_from_slice(b"KDMV");
    for (at, number) in [(4, 1), (12, 256), (20, 128), (28, 1), (36, 1), (44, 512), (56, 2), (64, 8)] {
        file[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
    }
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\
                RW 256 SPARSE \"disk.vmdk\"\n";
    file[512..512 + text.len()].copy_from_slice(text.as_bytes());
    // The directory names the table, and the table the grain.
    for (at, sector) in [(1024, 3), (1536, 8), (1540, 8)] {
        file[at..at + 4].copy_from_slice(&u32::to_le_bytes(sector));
    }
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_image_or_another_leaves_nothing() {
    let lab = Lab::new().await;
    let sha256 = "0".repeat(64);
    let mut backed = b"QFI\xfb\0\0\0\x03".to_vec();
    backed.resize(65536, 0);
    let mut difference = b"conectix".to_vec();
    difference.resize(65536, 0);
    difference[63] = 4;
    for (content, sha256, field) in [
        (raw(), &*sha256, "sha256"),
        (b"<!DOCTYPE html><p>not found".to_vec(), "", "url"),
        (b"\x1f\x8b\x08 packed".to_vec(), "", "url"),
        (b"KDMV and nothing more".to_vec(), "", "url"),
        (b"# Disk DescriptorFile\nversion=1\n".to_vec(), "", "url"),
        (one_grain_twice(), "", "url"),
        (backed, "", "url"),
        (difference, "", "url"),
        (Vec::new(), "", "url"),
    ] {
        let shown = String::from_utf8_lossy(&content[..content.len().min(30)]).into_owned();
        let server = Server::start(content, u64::MAX);
        let fault = import(&lab, VdiId::new(), server.url(), sha256).await.unwrap_err();
        let unusable = fault.field.as_deref() == Some(field) || fault.reason == FaultReason::Unsupported;
        assert!(unusable, "{shown}: {fault:?}");
    }
    let nobody = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    assert_eq!(import(&lab, VdiId::new(), nobody, "").await.unwrap_err().reason, FaultReason::NotReady);
    assert_eq!(rest(&lab), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_dir(&lab.config.storage).unwrap().count(), 1, "the folder of downloads");
}

/// A qcow2 over another file makes a careless reader read that file, whichever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_names_a_file_of_the_host_is_refused() {
    let lab = Lab::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (secret, image) = (folder.path().join("secret"), folder.path().join("image"));
    std::fs::write(&secret, vec![9; 1 << 20]).unwrap();
    let backing = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    let Ok(made) = Program::new("qemu-img").args(backing).args([&secret, &image]).status() else {
        eprintln!("skipped: there is no qemu-img (install qemu-utils)");
        return;
    };
    assert!(made.success());
    let server = Server::start(std::fs::read(image).unwrap(), u64::MAX);
    let fault = import(&lab, VdiId::new(), server.url(), "").await.unwrap_err();
    assert!(fault.message.contains("whole image"), "{fault}");
}

/// What lies behind the end of the file would read as zeros.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_was_cut_off_is_refused() {
    let lab = Lab::new().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk");
    std::fs::write(&source, raw()).unwrap();
    for (format, cut) in [("qcow2", 128 << 10), ("vpc", 64 << 10)] {
        let target = folder.path().join(format);
        let convert = ["convert", "-O", format];
        let Ok(made) = Program::new("qemu-img").args(convert).args([&source, &target]).status() else {
            eprintln!("skipped: there is no qemu-img (install qemu-utils)");
            return;
        };
        assert!(made.success(), "{format}");
        let mut content = std::fs::read(target).unwrap();
        content.truncate(content.len() - cut);
        let server = Server::start(content, u64::MAX);
        let fault = import(&lab, VdiId::new(), server.url(), "").await.unwrap_err();
        assert_eq!(fault.field.as_deref(), Some("url"), "{format}: {fault}");
    }
    assert_eq!(rest(&lab), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_tells_how_far_it_is_and_stops_when_asked() {
    let lab = Lab::new().await;
    // A server that says what it has and then nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let slow = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // An answer that comes before its question ends the connection.
        let asked = stream.read(&mut [0; 4096]).unwrap();
        assert!(asked > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").unwrap();
        while stream.write_all(&[1; 100]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let vdi = VdiId::new();
    let command = StorageCommand::Import { vdi, sr: sr(&lab).await, url, sha256: String::new() };
    let envelope = lab.envelope(Command::Storage(command));
    let (operation, client) = (envelope.operation, lab.client());
    let running = tokio::spawn(async move { client.execute(&envelope).await });
    let client = lab.client();
    until("progress", async || {
        let progress = client.progress(operation, lab.epoch, Wish::GoOn).await.unwrap();
        progress.is_some_and(|(done, total)| done > 0 && total == 1_000_000)
    })
    .await;
    client.progress(operation, lab.epoch, Wish::Stop).await.unwrap();
    let stopped = running.await.unwrap().unwrap_err();
    assert!(stopped.to_string().contains("cancelled"), "{stopped}");
    assert!(rest(&lab).iter().any(|path| path.extension().is_some_and(|end| end == "download")));
    lab.execute(Command::Storage(StorageCommand::DropImport { vdi })).await.unwrap();
    assert_eq!(rest(&lab), Vec::<PathBuf>::new());
    slow.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_is_a_small_disk_with_files() {
    let lab = Lab::new().await;
    let vdi = VdiId::new();
    let files = [("user-data".to_owned(), "#cloud-config\n".to_owned())].into();
    let command = StorageCommand::Seed { vdi, sr: sr(&lab).await, files };
    for _ in 0..2 {
        let CommandResult::Vdi(facts) = lab.execute(Command::Storage(command.clone())).await.unwrap() else {
            panic!("a VDI");
        };
        assert_eq!((facts.vdi, facts.size.bytes()), (vdi, 1 << 20));
    }
    let image = std::fs::read(lab.config.storage.join(format!("{vdi}.raw"))).unwrap();
    assert!(image.windows(13).any(|window| window == b"#cloud-config"));
    assert!(image.windows(6).any(|window| window == b"CIDATA"));
}
