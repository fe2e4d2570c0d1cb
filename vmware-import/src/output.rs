//! Results as text and JSON on standard output; progress and errors on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use xenith_common_text::{chain, counted};
use xenith_vmware_import::convert::{Progress, Report};
use xenith_vmware_import::error::ImportError;
use xenith_vmware_import::info::DiskInfo;
use xenith_vmware_import::ovf::Envelope;
use xenith_vmware_import::plan::MovePlan;
use xenith_vmware_import::plan::rules::Severity;

use crate::cli::{Output, ProgressKind};

pub fn print<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    let line = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(value).expect("results are plain data"),
    };
    // A reader that went away (head, a closed pipe) is no error of ours.
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub fn report_error(output: Output, error: &ImportError) {
    let text = chain(error);
    if output == Output::Json {
        let value = serde_json::json!({ "error": text, "code": error.exit_code() });
        let _ = writeln!(std::io::stdout(), "{value}");
    }
    let _ = writeln!(std::io::stderr(), "xenith-import: {text}");
}

pub fn info_text(info: &DiskInfo) -> String {
    let kind = if info.create_type.is_empty() { info.format } else { &info.create_type };
    let mut text = format!(
        "{}\n  type       {kind}\n  size       {}\n  data       {} in {}\n  files      {}\n",
        info.name,
        bytes(info.virtual_size),
        bytes(info.allocated),
        counted(info.data_runs, "run"),
        bytes(info.file_size)
    );
    if let Some(cid) = &info.cid {
        text.push_str(&format!("  content id {cid}\n"));
    }
    for (depth, layer) in info.chain.iter().enumerate() {
        let word = if depth == 0 { "disk" } else { "parent" };
        text.push_str(&format!("  {word:<10} {}\n", layer.name));
        for extent in &layer.extents {
            let file = extent.file.as_deref().unwrap_or("(zeros)");
            text.push_str(&format!("    {:<10} {} {}\n", extent.kind, bytes(extent.length), file));
        }
    }
    for warning in &info.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

pub fn report_text(report: &Report) -> String {
    let mut text = format!(
        "{}: {} ({}), {} stored in {:.1} s",
        report.target,
        bytes(report.virtual_size),
        report.format.name(),
        bytes(report.written),
        report.seconds
    );
    if let Some(digest) = &report.digest {
        text.push_str(&format!("\ndigest {digest}"));
    }
    if report.verified {
        text.push_str("\nread back and found the same");
    }
    for lost in &report.lost {
        text.push_str(&format!("\nlost: {} bytes from {}: {}", lost.length, lost.offset, lost.reason));
    }
    text
}

pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { counted(count, "byte") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Progress on standard error, at most five times a second.
pub struct Show {
    kind: ProgressKind,
    started: Instant,
    last: Option<Instant>,
}

impl Show {
    pub fn new(kind: ProgressKind) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let kind = if kind == ProgressKind::Auto && !terminal { ProgressKind::None } else { kind };
        Self { kind, started: Instant::now(), last: None }
    }

    pub fn progress(&mut self, progress: Progress) {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(200));
        if self.kind == ProgressKind::None || !due {
            return;
        }
        self.last = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs_f64();
        let mut stderr = std::io::stderr();
        let _ = match self.kind {
            ProgressKind::Json => {
                let line = serde_json::json!({
                    "done": progress.done, "total": progress.total, "seconds": seconds
                });
                writeln!(stderr, "{line}")
            }
            _ => write!(stderr, "\r{}\x1b[K", progress_text(progress, seconds)),
        };
    }

    pub fn end(&self) {
        if self.kind == ProgressKind::Auto && self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress_text(progress: Progress, seconds: f64) -> String {
    let rate = progress.done as f64 / seconds.max(0.001);
    if progress.total == 0 {
        return format!("{} read, {}/s", bytes(progress.done), bytes(rate as u64));
    }
    let percent = progress.done as f64 * 100.0 / progress.total as f64;
    let left = (progress.total - progress.done.min(progress.total)) as f64 / rate.max(1.0);
    format!("{percent:5.1}% of {}, {}/s, {left:.0} s left", bytes(progress.total), bytes(rate as u64))
}

pub fn package_text(package: &Envelope) -> String {
    let mut text = String::new();
    for vm in &package.vms {
        text.push_str(&format!("{} ({})\n  {} vCPUs, {} MiB", vm.name, vm.os, vm.vcpus, vm.memory_mib));
        text.push_str(if vm.efi { ", UEFI\n" } else { ", BIOS\n" });
        for disk in &vm.disks {
            let file =
                disk.file.and_then(|file| package.files.get(file)).map_or("(empty)", |file| &file.href);
            text.push_str(&format!("  disk {}: {} {file}\n", disk.id, bytes(disk.capacity)));
        }
        for nic in &vm.nics {
            let mac = nic.mac.as_deref().unwrap_or("no fixed address");
            text.push_str(&format!("  NIC {}: {} ({mac})\n", nic.name, nic.network));
        }
        if !vm.left_out.is_empty() {
            text.push_str(&format!("  left out: {}\n", vm.left_out.join(", ")));
        }
    }
    for warning in &package.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

pub fn plan_text(plan: &MovePlan) -> String {
    let mut text = format!(
        "{}, {} can move ({} of data in {}), {} blocked\n",
        counted(plan.vms.len(), "VM"),
        plan.vms.len() - plan.blocked.len(),
        bytes(plan.total_mib << 20),
        counted(plan.waves.len(), "wave"),
        plan.blocked.len()
    );
    for wave in &plan.waves {
        let estimate = &wave.estimate;
        text.push_str(&format!(
            "  wave {:>3}: {:>8}, {:>10}, {:.1} h ({:.1} to {:.1}), limited by {}{}\n",
            wave.number,
            counted(wave.vms.len(), "VM"),
            bytes(estimate.mib << 20),
            estimate.seconds / 3600.0,
            estimate.best_seconds / 3600.0,
            estimate.worst_seconds / 3600.0,
            estimate.narrowest,
            if wave.exceeds_window { "; longer than the window" } else { "" }
        ));
    }
    for state in &plan.freed {
        let hosts: Vec<&str> = state.clusters.iter().flat_map(|c| &c.free).map(String::as_str).collect();
        if !hosts.is_empty() {
            text.push_str(&format!("  free after wave {}: {}\n", state.after_wave, hosts.join(", ")));
        }
    }
    for vm in plan.vms.iter().filter(|vm| vm.worst() == Some(Severity::Blocks)) {
        for finding in vm.findings.iter().filter(|finding| finding.severity == Severity::Blocks) {
            text.push_str(&format!(
                "  {}: {} ({}): {}\n",
                vm.name, finding.reason, finding.code, finding.fix
            ));
        }
    }
    text.truncate(text.trim_end().len());
    text
}
