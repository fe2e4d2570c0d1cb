//! The golden files: the document and the authorisation table. `XENITH_BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod samples;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use xenith_orchestrator_api::{Kind, SUBSCRIPTIONS, methods, openrpc};
use xenith_orchestrator_types::{Permission, Role};

use samples::sample;

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
    let mut table = String::from(
        "# Who may call what, and where: on what the scope of their role covers, or only with a role that holds\n\
         # everywhere. A new method shows up here.\n",
    );
    let subscriptions = SUBSCRIPTIONS.iter().map(|info| (info.name, info.permission));
    let all = methods().into_iter().map(|info| (info.name, info.permission)).chain(subscriptions);
    writeln!(table, "{:<24} {:<11} {:<10} anyone viewer operator admin", "method", "permission", "reach")
        .unwrap();
    for (name, permission) in all {
        let role = |role: Role| if role.allows(permission) { "yes" } else { "-" };
        let anyone = if permission == Permission::Anyone { "yes" } else { "-" };
        let (viewer, operator, admin) = (role(Role::Viewer), role(Role::Operator), role(Role::Admin));
        let reach = permission.reach().as_str();
        let permission = serde_json::to_value(permission).unwrap();
        let permission = permission.as_str().unwrap();
        writeln!(
            table,
            "{name:<24} {permission:<11} {reach:<10} {anyone:<6} {viewer:<6} {operator:<8} {admin}"
        )
        .unwrap();
    }
    golden("authorisation.txt", &table);
}

/// An object of a method's parameters: the ones that are required, or all.
fn object(method: &Value, document: &Value, all: bool) -> Value {
    let params = method["params"].as_array().unwrap().iter();
    let wanted = params.filter(|param| all || param["required"] == true);
    wanted
        .map(|param| (param["name"].as_str().unwrap().to_owned(), sample(&param["schema"], document)))
        .collect::<Map<_, _>>()
        .into()
}

#[test]
fn what_the_document_says_a_method_takes_is_taken() {
    let document = openrpc();
    let methods = methods().into_iter().map(|info| (info.name, info.kind, info.takes));
    let subscriptions = SUBSCRIPTIONS.iter().map(|info| (info.name, Kind::Read, info.takes));
    for (name, kind, takes) in methods.chain(subscriptions) {
        let all = document["methods"].as_array().unwrap();
        let method = all.iter().find(|method| method["name"] == name).unwrap();
        for all in [false, true] {
            let mut params = object(method, &document, all);
            // The server takes these away before it decodes.
            let members = params.as_object_mut().unwrap();
            assert_eq!(members.remove("idempotency_key").is_some(), all && kind.is_mutation(), "{name}");
            assert_eq!(members.remove("dry_run").is_some(), all && kind == Kind::Plannable, "{name}");
            takes(&params).unwrap_or_else(|error| panic!("{name} refuses {params}: {error}"));
        }
        let required = method["params"].as_array().unwrap().iter().filter(|param| param["required"] == true);
        for param in required {
            let mut params = object(method, &document, false);
            params.as_object_mut().unwrap().remove(param["name"].as_str().unwrap());
            assert!(takes(&params).is_err(), "{name} does not need {}", param["name"]);
        }
    }
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
