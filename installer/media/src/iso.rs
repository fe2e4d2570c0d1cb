//! The cheap half: a cooked tree becomes a hybrid ISO, with its hash, signature and list of packages beside it.
//!
//! On a BIOS the medium starts as a disc (El Torito) or as a stick (GRUB's hybrid MBR); on UEFI, from either, the
//! firmware finds a FAT partition with Debian's signed shim and GRUB.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use xenith_installer::image::{DESCRIPTION, Description, SQUASHFS, hex};

use crate::tree::Cooked;
use crate::{sbom, sign};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of the volume; live-boot and people look at it.
const LABEL: &str = "XENITH";

/// What a medium may have: it is downloaded, and kept in memory where it comes over the network.
pub const MOST_BYTES: u64 = 450_000_000;

/// A finished medium.
#[derive(Debug, Clone)]
pub struct Medium {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
}

impl Medium {
    /// Fails where it is larger than promised.
    pub fn ensure_small(&self) -> Result<()> {
        ensure!(
            self.bytes <= MOST_BYTES,
            "{} has {} MB, and may have {} MB; `unsquashfs -lln` on its live/{SQUASHFS} shows what takes the room, and \
             lab/rootfs/packages.iso and excludes.iso are where it is left out",
            self.path.display(),
            self.bytes / 1_000_000,
            MOST_BYTES / 1_000_000
        );
        Ok(())
    }
}

/// Writes `xenith-<version>-amd64.iso` and what belongs to it into `out`.
pub fn build(cooked: &Cooked, out: &Path) -> Result<Medium> {
    let cache = crate::tree::cache()?;
    let staging = tempfile::Builder::new().prefix("staging-").tempdir_in(&cache)?;
    let root = staging.path().join("root");
    let date = Date::of(cooked.source_date)?;
    let description = describe(cooked)?;
    let id = &description.sha256[..16];
    live(cooked, &root, &description, &cache)?;
    boot(cooked, &root, id)?;
    let packages = sbom(cooked, &date)?;
    put(&root, "packages.spdx.json", &packages)?;
    put(&root, &format!(".disk/xenith-{id}"), b"")?;
    put(&root, ".disk/info", format!("Xenith {VERSION} amd64\n").as_bytes())?;
    let efi = staging.path().join("efi.img");
    efi_partition(cooked, &staging.path().join("efi"), &efi, id)?;
    let path = out.join(format!("xenith-{VERSION}-amd64.iso"));
    set_times(&root, cooked.source_date)?;
    xorriso(cooked, &root, &efi, &path, &date)?;
    fs::write(format!("{}.spdx.json", path.display()), &packages)?;
    let (bytes, sha256) = hash(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::write(format!("{}.sha256", path.display()), format!("{sha256}  {name}\n"))?;
    sign::sign(&cache, &path, &format!("{name} {sha256}"))?;
    fs::write(format!("{}.pub", path.display()), format!("{}\n", sign::public_key(&cache)?))?;
    Ok(Medium { path, bytes, sha256 })
}

/// The source's date in the forms that programs want.
struct Date {
    rfc3339: String,
    /// `YYYYMMDDhhmmsscc`, for xorriso.
    digits: String,
    /// For the serial number of a FAT.
    seconds: u64,
}

impl Date {
    fn of(seconds: u64) -> Result<Self> {
        let date = OffsetDateTime::from_unix_timestamp(seconds.try_into()?)?;
        let digits = date.format(format_description!("[year][month][day][hour][minute][second]00"))?;
        Ok(Self { rfc3339: date.format(&Rfc3339)?, digits, seconds })
    }
}

fn describe(cooked: &Cooked) -> Result<Description> {
    let (bytes, sha256) = hash(&cooked.dir.join(SQUASHFS))?;
    let unpacked = fs::read_to_string(cooked.dir.join("unpacked"))?;
    let unpacked_bytes = unpacked.trim().parse().context("the size of the tree is no number")?;
    let version = VERSION.to_owned();
    Ok(Description { version, sha256, bytes, unpacked_bytes, source_date: cooked.source_date })
}

fn hash(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn put(root: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn take(from: &Path, root: &Path, name: &str) -> Result<()> {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    fs::copy(from, &path).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn live(cooked: &Cooked, root: &Path, description: &Description, cache: &Path) -> Result<()> {
    for name in ["vmlinuz", "initrd.img", SQUASHFS] {
        take(&cooked.dir.join(name), root, &format!("live/{name}"))?;
    }
    let name = format!("live/{DESCRIPTION}");
    put(root, &name, &serde_json::to_vec_pretty(description)?)?;
    sign::sign(cache, &root.join(name), &format!("xenith {} {}", description.version, description.sha256))?;
    Ok(())
}

fn boot(cooked: &Cooked, root: &Path, id: &str) -> Result<()> {
    for platform in ["i386-pc", "x86_64-efi"] {
        for entry in fs::read_dir(cooked.dir.join("grub").join(platform))? {
            let entry = entry?;
            let name = format!("boot/grub/{platform}/{}", entry.file_name().to_string_lossy());
            take(&entry.path(), root, &name)?;
        }
    }
    take(&cooked.dir.join("grub/eltorito.img"), root, "boot/grub/eltorito.img")?;
    put(root, "boot/grub/grub.cfg", menu(id).as_bytes())
}

/// The menu of the medium. `xenith.answers=` and `xenith.answers.sha256=` may be added with `e`.
fn menu(id: &str) -> String {
    let linux = "linux /live/vmlinuz boot=live noeject nopersistence systemd.unit=xenith-installer.target \
                 systemd.show_status=error";
    format!(
        "insmod part_gpt\ninsmod iso9660\nserial --unit=0 --speed=115200\n\
         terminal_input console serial\nterminal_output console serial\n\
         search --no-floppy --file --set=root /.disk/xenith-{id}\n\
         set timeout=5\nset default=0\n\
         menuentry \"Install Xenith {VERSION}\" {{\n    {linux} console=tty0 console=ttyS0,115200n8\n    \
         initrd /live/initrd.img\n}}\n\
         menuentry \"Install Xenith {VERSION} (all messages)\" {{\n    {linux} console=ttyS0,115200n8 console=tty0 \
         systemd.log_level=debug\n    initrd /live/initrd.img\n}}\n"
    )
}

/// The FAT partition that a UEFI firmware starts from.
fn efi_partition(cooked: &Cooked, dir: &Path, image: &Path, id: &str) -> Result<()> {
    let grub = cooked.dir.join("grub");
    take(&grub.join("shimx64.efi.signed"), dir, "EFI/BOOT/BOOTX64.EFI")?;
    take(&grub.join("mmx64.efi.signed"), dir, "EFI/BOOT/mmx64.efi")?;
    take(&grub.join("grubx64.efi.signed"), dir, "EFI/BOOT/grubx64.efi")?;
    // Where Debian's signed GRUB looks.
    let find = format!(
        "search --no-floppy --file --set=root /.disk/xenith-{id}\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    );
    put(dir, "EFI/debian/grub.cfg", find.as_bytes())?;
    set_times(dir, cooked.source_date)?;
    File::create(image)?.set_len(16 << 20)?;
    let epoch = cooked.source_date.to_string();
    let serial = format!("{:08X}", cooked.source_date & 0xffff_ffff);
    run(Command::new("mkfs.vfat")
        .args(["-F", "16", "--invariant", "-n", "XENITH-EFI", "-i", &serial])
        .arg(image))?;
    let mut copy = Command::new("mcopy");
    copy.env("SOURCE_DATE_EPOCH", &epoch)
        .env("TZ", "UTC")
        .args(["-s", "-m", "-i"])
        .arg(image)
        .arg(dir.join("EFI"))
        .arg("::");
    run(&mut copy)
}

/// Every file and folder gets the source's date.
fn set_times(dir: &Path, seconds: u64) -> Result<()> {
    run(Command::new("find").arg(dir).args([
        "-exec",
        "touch",
        "--no-dereference",
        &format!("--date=@{seconds}"),
        "{}",
        "+",
    ]))
}

fn xorriso(cooked: &Cooked, root: &Path, efi: &Path, out: &Path, date: &Date) -> Result<()> {
    let mut command = Command::new("xorriso");
    command.env("SOURCE_DATE_EPOCH", date.seconds.to_string());
    command.args(["-as", "mkisofs", "-quiet", "-r", "-J", "-joliet-long", "-V", LABEL]);
    command.arg(format!("--modification-date={}", date.digits));
    command.args(["--sort-weight", "0", "/", "--sort-weight", "1", "/boot"]);
    // BIOS: El Torito for discs, a master boot record with GRUB for sticks.
    command.arg("--grub2-mbr").arg(cooked.dir.join("grub/boot_hybrid.img"));
    command.args([
        "-b",
        "boot/grub/eltorito.img",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-boot-info-table",
    ]);
    command.arg("--grub2-boot-info");
    // UEFI: the same FAT for discs (El Torito) and sticks (a partition).
    command.args(["-append_partition", "2", "0xef"]).arg(efi).arg("-appended_part_as_gpt");
    command.args(["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
    command.arg("-o").arg(out).arg(root);
    run(&mut command)
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}; `cargo xtask setup --for iso`"))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn sbom(cooked: &Cooked, date: &Date) -> Result<Vec<u8>> {
    let read = |name: &str| {
        let path = cooked.dir.join(name);
        fs::read(&path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .with_context(|| format!("cannot read {}", path.display()))
    };
    let document = sbom::spdx(VERSION, &date.rfc3339, &read("packages.tsv")?, &read("licences.tsv")?);
    let mut text = serde_json::to_vec_pretty(&document)?;
    writeln!(text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_finds_its_own_medium_and_speaks_on_both_consoles() {
        let menu = menu("0123");
        assert!(menu.contains("--file --set=root /.disk/xenith-0123"), "{menu}");
        assert!(menu.contains("console=tty0 console=ttyS0,115200n8\n"), "{menu}");
        assert_eq!(menu.matches("systemd.unit=xenith-installer.target").count(), 2);
    }

    #[test]
    fn a_medium_that_has_grown_says_where_to_look() {
        let medium = |bytes| Medium { path: "/dist/x.iso".into(), bytes, sha256: String::new() };
        assert!(medium(MOST_BYTES).ensure_small().is_ok());
        let error = medium(MOST_BYTES + 1_000_000).ensure_small().unwrap_err().to_string();
        assert!(error.contains("451 MB") && error.contains("excludes.iso"), "{error}");
    }

    #[test]
    fn the_date_is_the_sources() {
        let date = Date::of(1_790_000_000).unwrap();
        assert_eq!(
            (date.rfc3339.as_str(), date.digits.as_str()),
            ("2026-09-21T14:13:20Z", "2026092114132000")
        );
    }
}
