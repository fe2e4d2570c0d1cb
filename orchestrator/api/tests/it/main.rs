//! The golden files: the document and the authorisation table. `XENITH_BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use xenith_orchestrator_api::{SUBSCRIPTIONS, methods, openrpc};
use xenith_orchestrator_types::{Permission, Role};

fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("XENITH_BLESS").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} is out of date; look at the change, then write it anew with XENITH_BLESS=1"
    );
}

#[test]
fn the_document_is_the_one_in_the_repository() {
    golden("openrpc.json", &(serde_json::to_string_pretty(&openrpc()).unwrap() + "\n"));
}

#[test]
fn the_authorisation_table_is_the_one_in_the_repository() {
    let mut table =
        String::from("# Who may call what, where their role holds. A new method shows up here.\n");
    let subscriptions = SUBSCRIPTIONS.iter().map(|info| (info.name, info.permission));
    let all = methods().into_iter().map(|info| (info.name, info.permission)).chain(subscriptions);
    writeln!(table, "{:<24} {:<11} anyone viewer operator admin", "method", "permission").unwrap();
    for (name, permission) in all {
        let role = |role: Role| if role.allows(permission) { "yes" } else { "-" };
        let anyone = if permission == Permission::Anyone { "yes" } else { "-" };
        let (viewer, operator, admin) = (role(Role::Viewer), role(Role::Operator), role(Role::Admin));
        let permission = serde_json::to_value(permission).unwrap();
        let permission = permission.as_str().unwrap();
        writeln!(table, "{name:<24} {permission:<11} {anyone:<6} {viewer:<6} {operator:<8} {admin}").unwrap();
    }
    golden("authorisation.txt", &table);
}

#[test]
fn names_are_unique_and_every_method_says_what_it_does() {
    let mut names: Vec<_> = methods().iter().map(|info| info.name).collect();
    assert!(methods().iter().all(|info| info.summary.ends_with('.')));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
