//! Writes `src/bindings_<version>.rs` again from the installed Xen headers.
//!
//! Needs Debian's `libxen-dev` and `libclang-dev`:
//! `cargo run -p xenith-hypervisor-agent-libxl-sys --example regenerate`.

mod generate;

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let version = generate::installed_version()?;
    let path = generate::bindings_path(Path::new(env!("CARGO_MANIFEST_DIR")), &version);
    std::fs::write(&path, generate::generate()?)?;
    println!("wrote {} for Xen {version}", path.display());
    Ok(())
}
