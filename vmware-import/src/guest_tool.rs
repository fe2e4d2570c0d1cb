//! `xenith-import guest`: what a guest's root needs to boot on Xen, and doing it.

use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{chdir, chroot};
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::guest::folder::{FolderFiles, apply};
use xenith_vmware_import::guest::{Change, Facts, Preparation, prepare};

use crate::cli::Output;
use crate::output::print;

/// Whether the preparation is done or only shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Show,
    /// With the guest's root as our own: nothing outside can be reached.
    Apply,
}

pub fn guest(output: Output, root: &Path, facts: Option<&Path>, deed: Deed) -> Result<ExitCode> {
    let facts = match facts {
        None => Facts::default(),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read(path).map_err(|error| ImportError::io("read", &name, error))?;
            serde_json::from_slice(&text).map_err(|error| ImportError::Usage(format!("{name}: {error}")))?
        }
    };
    let mut root = root;
    if deed == Deed::Apply {
        let entered = chroot(root).and_then(|()| chdir("/"));
        entered.map_err(|errno| ImportError::io("enter", root.display().to_string(), errno.into()))?;
        root = Path::new("/");
    }
    let plan = prepare(&FolderFiles(root.to_owned()), &facts);
    let plan =
        plan.ok_or_else(|| ImportError::Usage("this is not the root of a system that is known".to_owned()))?;
    if deed == Deed::Apply {
        apply(root, &plan.changes, &mut |change| eprintln!("{}", change.line()))?;
    }
    print(output, &plan, || text(&plan));
    Ok(ExitCode::SUCCESS)
}

fn text(plan: &Preparation) -> String {
    let changes = plan.changes.iter().map(Change::line);
    let warnings = plan.warnings.iter().map(|warning| format!("warning: {warning}"));
    let lines: Vec<String> = std::iter::once(plan.os.clone()).chain(changes).chain(warnings).collect();
    lines.join("\n")
}
