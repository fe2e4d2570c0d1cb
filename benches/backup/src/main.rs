//! Measures `xenith-backup` beside restic, borg and qemu-img on a generated corpus.
//!
//! `xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]`: TOOL is a release build of `xenith-backup`; WORKDIR
//! gets the corpus and the repositories, about four times the files' size. CPU seconds are those of the child
//! processes (`getrusage`), so that a busy machine does not falsify the ratios. Bytes and objects are counted
//! in the repositories.

mod corpus;
mod measure;
mod tools;

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let tool = args.next().context("usage: xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]")?;
    let dir = args.next().context("usage: xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]")?;
    let mib = args.next().map_or(Ok(2048), |text| text.parse())?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let corpus = corpus::make(dir, mib)?;
    let rows = tools::run_all(&tool, dir, &corpus)?;
    tools::print(&rows, &corpus);
    Ok(())
}
