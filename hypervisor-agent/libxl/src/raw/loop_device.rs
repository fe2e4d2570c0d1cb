//! Image files as block devices.
//!
//! The kernel's back end serves block devices only. libxl's other way for a file, a QEMU as back end
//! (`qdisk`), costs a process of tens of MiB per PV or PVH domain and cannot attach a disk to a domain that
//! was made without one (`device model required but not running`); so files become loop devices.
//!
//! Each is made with *autoclear*: the kernel takes it apart when its last opener lets go. We hold it only
//! until the back end has it, so nothing of ours must run when a domain ends, and a crash of the agent
//! leaves no loop device behind.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use xenith_hypervisor_agent_types::DiskAccess;

/// `linux/loop.h`.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Past the page cache of dom0, whose memory is small. The kernel ignores it where the file system cannot.
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config` with `struct loop_info64` inside, without the fields that stay 0.
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    zeros: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    file_name: [u8; 64],
    reserved: [u64; 22],
}

const _: () = assert!(size_of::<Configuration>() == 304, "struct loop_config of linux/loop.h");

/// Other programs take loop devices, too; each attempt lost one race.
const ATTEMPTS: u32 = 64;

/// A loop device that exists at least as long as this.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// # Errors
    /// When it is no file, or cannot be opened, or the kernel has no loop devices (module `loop`).
    pub fn attach(image: &Path, access: DiskAccess) -> io::Result<Self> {
        let write = access == DiskAccess::ReadWrite;
        // Whoever else can write to the folder, as a server of files can, gives a guest no other file of dom0.
        let mut image_file = OpenOptions::new();
        let image_file = image_file.read(true).write(write).custom_flags(libc::O_NOFOLLOW).open(image)?;
        if !image_file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: takes no argument; returns a number or -1.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(write).open(&path)?;
            match configure(&device, &image_file, image, access) {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, image: &File, name: &Path, access: DiskAccess) -> io::Result<()> {
    let mut file_name = [0; 64];
    let shown = name.as_os_str().as_encoded_bytes();
    let length = shown.len().min(file_name.len() - 1);
    file_name[..length].copy_from_slice(&shown[..length]);
    let access = match access {
        DiskAccess::ReadWrite => 0,
        DiskAccess::ReadOnly => LO_FLAGS_READ_ONLY,
    };
    let configuration = Configuration {
        fd: u32::try_from(image.as_raw_fd()).expect("an open descriptor is not negative"),
        block_size: 0,
        zeros: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | access,
        file_name,
        reserved: [0; 22],
    };
    // SAFETY: the struct that this request reads, of the size checked above; it lives for the call.
    let rc: c_int = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const configuration) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
