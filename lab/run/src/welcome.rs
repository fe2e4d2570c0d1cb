//! What the person at the terminal needs to know.

use crate::bridge::Nic;
use crate::cli::Kind;
use crate::orchestrator::Orchestrator;
use crate::place::Place;

/// Where to sign in, and the password of the very first start.
pub fn access(orchestrator: &Orchestrator, port: u16) {
    println!("Xenith is at https://127.0.0.1:{port}");
    if let Some(password) = &orchestrator.password {
        println!("  user admin, password {password}   (shown this once)");
    }
}

pub fn say(place: &Place, orchestrator: &Orchestrator, port: u16, (kind, nic): (Kind, &Nic)) {
    let program =
        place.program("xenith").map_or_else(|_| "xenith".to_owned(), |path| path.display().to_string());
    let url = format!("https://127.0.0.1:{port}");
    println!();
    println!("Xenith runs: {url}");
    if orchestrator.password.is_some() {
        println!("  user admin, with the password shown above");
    }
    println!("  data is kept in {}", place.data.display());
    println!();
    println!("Try:");
    println!("  {program} login {url} --user admin --fingerprint {}", orchestrator.fingerprint);
    let boot = match kind {
        // Installed with the lab's hosts: a kernel and a few MB that answer ping and report facts.
        Kind::Lab | Kind::Sim | Kind::Auto => "--kernel lab-vmlinux --ramdisk lab-initramfs --memory 128MiB",
        // Copied from this machine: it boots to the prompt of its initramfs, as the disk is empty.
        Kind::Local => "--kernel vmlinuz --ramdisk initrd.img --memory 512MiB",
    };
    println!("  {program} vm create web-1 --kind pvh {boot} --disk 1GiB{} --start --wait", nic.option());
    println!("  {program} vm list");
    if let Some(advice) = nic.advice() {
        println!();
        println!("{advice}");
    }
    println!();
    println!("Ctrl-C stops all of it; the next `make run` finds everything again.");
}
