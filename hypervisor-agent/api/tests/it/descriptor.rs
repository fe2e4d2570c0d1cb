//! The protocol as it is on the wire: every message, field, enumeration and call, as `protoc` read them.
//!
//! What always holds: the lines of `protocol.txt` that are there stay as they are while [`PROTOCOL`] does. Lines may be
//! added; an older peer skips the fields that it does not know. A number, type or name that changes, and one that goes,
//! would be read as something else by a peer of another version with the same [`PROTOCOL`]. `XENITH_BLESS=1` writes
//! what was added; the rest only after [`PROTOCOL`] was raised.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};
use xenith_hypervisor_agent_api::PROTOCOL;

/// What the build script's `protoc` found.
const SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.bin"));

const GOLDEN: &str = "protocol.txt";

/// Without our package, which every name would have.
fn short(name: &str) -> &str {
    name.strip_prefix(".xenith.agent.v1.").unwrap_or(name)
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum | Type::Group => short(field.type_name()).to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn field(message: &str, field: &FieldDescriptorProto, choices: &[String]) -> String {
    let choice = field.oneof_index.map(|index| choices[usize::try_from(index).unwrap()].as_str());
    let kind = kind(field);
    let what = match (field.label(), choice) {
        (Label::Repeated, _) => format!("repeated {kind}"),
        // How `optional` is said in proto3.
        (_, Some(choice)) if choice.starts_with('_') => format!("optional {kind}"),
        (_, Some(choice)) => format!("{kind}, one of {choice}"),
        (_, None) => kind,
    };
    format!("{message} {} {}: {what}", field.number(), field.name())
}

fn message(outer: &str, found: &DescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{outer}{}", found.name());
    lines.push(format!("message {name}"));
    let choices: Vec<String> = found.oneof_decl.iter().map(|choice| choice.name().to_owned()).collect();
    lines.extend(found.field.iter().map(|of| field(&name, of, &choices)));
    found.enum_type.iter().for_each(|nested| values(&format!("{name}."), nested, lines));
    found.nested_type.iter().for_each(|nested| message(&format!("{name}."), nested, lines));
}

fn values(outer: &str, found: &EnumDescriptorProto, lines: &mut Vec<String>) {
    let value = |number: i32, name: &str| format!("enum {outer}{} {number}: {name}", found.name());
    lines.extend(found.value.iter().map(|of| value(of.number(), of.name())));
}

fn calls(service: &ServiceDescriptorProto, lines: &mut Vec<String>) {
    let stream = |is_one: bool| if is_one { "stream " } else { "" };
    for call in &service.method {
        let (asked, answered) = (short(call.input_type()), short(call.output_type()));
        let (ask, answer) = (stream(call.client_streaming()), stream(call.server_streaming()));
        lines.push(format!("rpc {}.{}: {ask}{asked} to {answer}{answered}", service.name(), call.name()));
    }
}

fn current() -> Vec<String> {
    let set = FileDescriptorSet::decode(SET).unwrap();
    let mut lines = Vec::new();
    for file in &set.file {
        assert_eq!(file.package(), "xenith.agent.v1", "{}", file.name());
        file.service.iter().for_each(|service| calls(service, &mut lines));
        file.message_type.iter().for_each(|found| message("", found, &mut lines));
        file.enum_type.iter().for_each(|found| values("", found, &mut lines));
    }
    lines
}

/// The first line, which names [`PROTOCOL`].
fn head(protocol: u32) -> String {
    format!("protocol {protocol}")
}

#[test]
fn what_is_on_the_wire_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let current = current();
    let kept: BTreeSet<&str> = current.iter().map(String::as_str).collect();
    assert_eq!(kept.len(), current.len(), "a line would stand for two things");
    let raised = !golden.is_empty() && golden.lines().next() != Some(head(PROTOCOL).as_str());
    let gone: Vec<&str> = golden.lines().skip(1).filter(|line| !kept.contains(line)).collect();
    assert!(
        raised || gone.is_empty(),
        "changed or removed, which a peer of another version with the same PROTOCOL reads wrongly: {gone:#?}\n\
         Leave these as they are and add new fields, or raise PROTOCOL"
    );
    let text = [head(PROTOCOL)].into_iter().chain(current).map(|line| line + "\n").collect::<String>();
    if std::env::var_os("XENITH_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{GOLDEN} is out of date; look at what was added, then write it anew with XENITH_BLESS=1"
    );
}

/// Calls that only look. An orchestrator that was replaced may go on with these; by its epoch it is refused everywhere else.
const LOOKS: [&str; 4] = ["Watch", "Metrics", "BackupProgress", "ImportProgress"];

#[test]
fn each_call_that_does_not_only_look_carries_an_epoch() {
    let set = FileDescriptorSet::decode(SET).unwrap();
    let has_epoch = |message: &str| {
        let mut found = set.file.iter().flat_map(|file| &file.message_type);
        let found = found.find(|found| found.name() == message).unwrap_or_else(|| panic!("no {message}"));
        found.field.iter().any(|field| field.name() == "epoch")
    };
    let agent = set.file.iter().flat_map(|file| &file.service).find(|service| service.name() == "Agent");
    for call in &agent.unwrap().method {
        // The first message of a console opens it.
        let asked = match short(call.input_type()) {
            "ConsoleInput" => "OpenConsole",
            asked => asked,
        };
        let looks = LOOKS.contains(&call.name());
        assert_eq!(
            has_epoch(asked),
            !looks,
            "{}: give it an epoch and check it, or a name above",
            call.name()
        );
    }
}
