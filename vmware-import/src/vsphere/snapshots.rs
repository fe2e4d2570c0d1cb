//! Our snapshots at a source: found by their name, removed, and nothing of them left.
//!
//! What always holds: only snapshots with our name are removed. A removal that is refused may take the snapshot out of
//! the list and leave its delta disk, which grows until the datastore is full: the server then says that the disks need
//! consolidation, and gets it, now or when the removal is asked for again.

use std::time::Duration;

use super::client::{MoRef, Vim};
use super::soap::{Body, Flag, Node};
use crate::error::{ImportError, Result, Retry};

/// How our snapshots are called; nothing else is ever removed.
pub const SNAPSHOT: &str = "xenith-import";
/// A quiesced snapshot of a busy guest can take many minutes, and so can the merge of one that grew large.
pub(super) const DEADLINE: Duration = Duration::from_secs(3600);

/// Takes one.
pub(super) fn take(vim: &Vim, vm: &MoRef) -> Result<MoRef> {
    let body = Body::new()
        .text("name", SNAPSHOT)
        .text("description", "made by the import, removed by it")
        .flag("memory", Flag::False)
        .flag("quiesce", Flag::False);
    Ok(vim.run("CreateSnapshot_Task", vm, &body, DEADLINE)?.moref())
}

/// Those that a VM has.
pub(super) fn ours(vim: &Vim, vm: &MoRef) -> Result<Vec<MoRef>> {
    let found = vim.properties(vm, &["snapshot"])?;
    let mut ours = Vec::new();
    if let Some(tree) = found.get("snapshot") {
        collect(tree, "rootSnapshotList", &mut ours);
    }
    Ok(ours)
}

fn collect(node: &Node, list: &str, ours: &mut Vec<MoRef>) {
    for child in node.all(list) {
        if child.text_at("name") == SNAPSHOT {
            ours.extend(child.child("snapshot").map(Node::moref));
        }
        collect(child, "childSnapshotList", ours);
    }
}

/// One that is not ours, by its name. Tracking that was begun while it stood knows only of the time since.
pub(super) fn another(vim: &Vim, vm: &MoRef) -> Result<Option<String>> {
    let found = vim.properties(vm, &["snapshot"])?;
    Ok(found.get("snapshot").and_then(|tree| other(tree, "rootSnapshotList")))
}

fn other(node: &Node, list: &str) -> Option<String> {
    node.all(list).find_map(|child| match child.text_at("name") {
        SNAPSHOT => other(child, "childSnapshotList"),
        name => Some(name.to_owned()),
    })
}

/// Removes all of them, wherever the move that made them ran.
pub fn remove_ours(vim: &Vim, vm: &MoRef) -> Result<()> {
    for snapshot in ours(vim, vm)? {
        let body = Body::new().flag("removeChildren", Flag::False).flag("consolidate", Flag::True);
        vim.run("RemoveSnapshot_Task", &snapshot, &body, DEADLINE).map_err(held)?;
    }
    let state = vim.properties(vm, &["runtime.consolidationNeeded"])?;
    if state.text("runtime.consolidationNeeded") == "true" {
        vim.run("ConsolidateVMDisks_Task", vm, &Body::new(), DEADLINE).map_err(held)?;
    }
    Ok(())
}

/// What cannot be removed now is held by something that lets it go: a backup, a host that is away. It is asked for again.
fn held(error: ImportError) -> ImportError {
    match error {
        ImportError::Server { server, call, detail, retry: Retry::Never } => {
            let detail = format!("{detail}; the snapshot {SNAPSHOT:?} is still to be removed there");
            ImportError::Server { server, call, detail, retry: Retry::Mended }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::soap::parse;
    use super::*;

    #[test]
    fn only_our_snapshots_are_found_at_any_depth() {
        let leaf = |name: &str, id: &str, below: &str| {
            format!(
                "<childSnapshotList><snapshot type=\"VirtualMachineSnapshot\">{id}</snapshot><name>{name}</name>{below}</childSnapshotList>"
            )
        };
        let inner = leaf("xenith-import", "s-3", "");
        let theirs = leaf("xenith-import of mine", "s-2", &inner);
        let text = format!(
            "<x><info><rootSnapshotList><snapshot type=\"VirtualMachineSnapshot\">s-1</snapshot>\
             <name>before the update</name>{theirs}</rootSnapshotList></info></x>"
        );
        let mut found = Vec::new();
        collect(parse(&text).unwrap().child("info").unwrap(), "rootSnapshotList", &mut found);
        assert_eq!(found, [MoRef::new("VirtualMachineSnapshot", "s-3")]);
        assert_eq!(
            other(parse(&text).unwrap().child("info").unwrap(), "rootSnapshotList").unwrap(),
            "before the update"
        );
        let below = leaf("xenith-import", "s-1", &leaf("theirs", "s-2", "")).replacen("child", "root", 1);
        let below = below
            .replace("</childSnapshotList></childSnapshotList>", "</childSnapshotList></rootSnapshotList>");
        let ours = leaf("xenith-import", "s-1", "").replace("child", "root");
        for (text, expected) in [(below, Some("theirs")), (ours, None)] {
            let tree = parse(&format!("<x>{text}</x>")).unwrap();
            assert_eq!(other(&tree, "rootSnapshotList").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_removal_that_is_refused_is_asked_for_again() {
        let refused = |retry| ImportError::Server {
            server: "vc".into(),
            call: "a task",
            detail: "FileLocked".into(),
            retry,
        };
        let told = held(refused(Retry::Never));
        assert!(matches!(&told, ImportError::Server { retry: Retry::Mended, .. }), "{told}");
        assert!(told.to_string().contains(SNAPSHOT), "{told}");
        assert!(matches!(held(refused(Retry::Later)), ImportError::Server { retry: Retry::Later, .. }));
    }
}
