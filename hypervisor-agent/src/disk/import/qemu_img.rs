//! `qemu-img`, told exactly what to read: it never guesses a format, and never opens a file that an image names.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::{cancelled, unusable};
use crate::progress::Progress;

/// How often a conversion is looked at.
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
    #[serde(rename = "backing-filename")]
    backing_filename: Option<String>,
    #[serde(rename = "format-specific", default)]
    specific: serde_json::Value,
}

fn missing(error: &std::io::Error) -> Fault {
    if error.kind() == std::io::ErrorKind::NotFound {
        let message = "this host has no qemu-img; install qemu-utils, or give a raw image";
        return Fault::new(FaultReason::Unsupported, message);
    }
    Fault::new(FaultReason::Internal, format_args!("cannot run qemu-img: {error}"))
}

/// The size of the disk in an image that stands for itself.
pub fn check(file: &Path, format: &str) -> Result<u64, Fault> {
    let output = Command::new("qemu-img")
        .args(["info", "--output=json", "-f", format])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing(&error))?;
    if !output.status.success() {
        return Err(unusable(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    let info: Info = serde_json::from_slice(&output.stdout).map_err(|error| unusable(&error))?;
    // Such an image makes qemu-img read another file of the host, whichever it names.
    if let Some(other) = info.backing_filename {
        return Err(unusable(&format_args!("it is a difference to {other:?}; give a whole image")));
    }
    if !info.specific["data"]["data-file"].is_null() {
        return Err(unusable(&"its data are in another file; give a whole image"));
    }
    if format == "qcow2" {
        whole(file)?;
    }
    Ok(info.virtual_size)
}

/// Refuses a qcow2 that was cut off or is damaged: what lies behind the end of the file reads as zeros, and the conversion
/// says nothing of it. VHD and VHDX are held against the length of their file when they are opened.
fn whole(file: &Path) -> Result<(), Fault> {
    let output = Command::new("qemu-img")
        .args(["check", "-q", "-f", "qcow2"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing(&error))?;
    match output.status.code() {
        // 3: some space in it is used for nothing, which harms nobody.
        Some(0 | 3) => Ok(()),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or_default();
            Err(unusable(&format_args!(
                "it was cut off, or is damaged ({first}); get it again, or look at it with `qemu-img check`"
            )))
        }
    }
}

/// Into a VDI that is there and reads as zeros.
pub fn convert(file: &Path, format: &str, to: &Path, progress: &Progress) -> Result<(), Fault> {
    let mut child = Command::new("qemu-img")
        .args(["convert", "-p", "-n", "--target-is-zero", "-f", format, "-O", "raw"])
        .arg(file)
        .arg(to)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&error))?;
    let shown = child.stdout.take();
    let follow = |progress: &Progress| {
        let Some(mut shown) = shown else { return };
        let mut buffer = [0; 256];
        while let Ok(read @ 1..) = shown.read(&mut buffer) {
            if let Some(percent) = percent(&String::from_utf8_lossy(&buffer[..read])) {
                progress.set(percent, 100);
            }
        }
    };
    let status = std::thread::scope(|scope| {
        scope.spawn(|| follow(progress));
        loop {
            match child.try_wait() {
                Ok(None) if progress.check().is_err() => {
                    let _ended_already = child.kill();
                    let _reaped = child.wait();
                    return Err(cancelled());
                }
                Ok(None) => std::thread::sleep(POLL),
                Ok(Some(status)) => return Ok(status),
                Err(error) => return Err(missing(&error)),
            }
        }
    })?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _what_was_read = stderr.read_to_string(&mut said);
    }
    let said = said.trim();
    if said.contains("No space left") {
        return Err(Fault::new(FaultReason::StorageFull, format_args!("the SR is full: {said}")));
    }
    Err(unusable(&said))
}

/// Of the last `(12.34/100%)`.
fn percent(shown: &str) -> Option<u64> {
    let (_, rest) = shown.rsplit_once('(')?;
    rest.split(['.', '/']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        for (shown, expected) in
            [("    (0.00/100%)\r    (12.50/100%)\r", Some(12)), ("(100.00/100%)\n", Some(100)), ("", None)]
        {
            assert_eq!(percent(shown), expected, "{shown}");
        }
    }
}
