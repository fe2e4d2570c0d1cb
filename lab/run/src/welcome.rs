//! What the person at the terminal needs to know.

use crate::cli::Kind;
use crate::orchestrator::Orchestrator;
use crate::place::Place;

pub fn say(place: &Place, orchestrator: &Orchestrator, port: u16, kind: Kind) {
    let program =
        place.program("xenith").map_or_else(|_| "xenith".to_owned(), |path| path.display().to_string());
    let url = format!("https://127.0.0.1:{port}");
    println!();
    println!("Xenith runs: {url}");
    if let Some(password) = &orchestrator.password {
        println!("  user admin, password {password}   (shown this once)");
    }
    println!("  data is kept in {}", place.data.display());
    println!();
    println!("Try:");
    println!("  {program} login {url} --user admin --fingerprint {}", orchestrator.fingerprint);
    let boot = match kind {
        // Installed with the lab's hosts: a kernel and a few MB that answer ping and report facts.
        Kind::Lab | Kind::Sim | Kind::Auto => "--kernel lab-vmlinux --ramdisk lab-initramfs",
        Kind::Local => "--kernel KERNEL --ramdisk INITRD",
    };
    println!(
        "  {program} vm create web-1 --kind pvh {boot} --memory 128MiB --disk 1GiB --nic default --start --wait"
    );
    println!("  {program} vm list");
    println!();
    println!("Ctrl-C stops all of it; the next `make run` finds everything again.");
}
