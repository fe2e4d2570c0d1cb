//! Measures `xenith-backup` beside restic, borg and qemu-img on a generated corpus.
//!
//! `xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]`: TOOL is a release build of `xenith-backup`; WORKDIR
//! gets the corpus and the repositories, about four times the files' size. CPU seconds are those of the child
//! processes (`getrusage`), so that a busy machine does not falsify the ratios. Bytes and objects are counted
//! in the repositories.
//!
//! `xenith-benches-backup sizes WORKDIR` compares chunk sizes on a corpus that is there.

mod corpus;
mod measure;
mod sizes;
mod tools;

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let tool = args.next().context("usage: xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]")?;
    let dir = args.next().context("usage: xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]")?;
    let mib = args.next().map_or(Ok(2048), |text| text.parse())?;
    let dir = Path::new(&dir);
    if tool == "sizes" {
        let image = |name: &str| dir.join(name);
        let (day1, day2, install) = (image("day1.img"), image("day2.img"), image("install.img"));
        return sizes::print(&[("day 1", &day1), ("day 2", &day2), ("separate install", &install)]);
    }
    std::fs::create_dir_all(dir)?;
    let corpus = corpus::make(dir, mib)?;
    let rows = tools::run_all(&tool, dir, &corpus)?;
    tools::print(&rows, &corpus);
    Ok(())
}
