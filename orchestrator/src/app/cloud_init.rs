//! What a guest's cloud-init is told: the files of its NoCloud source.

mod archive;

use std::collections::BTreeMap;

use serde_json::json;
use xenith_common_ids::VmId;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::template::CloudInit;

pub(super) use archive::{Part, kind_of};

/// What user-data may begin with, so that cloud-init knows what it is
/// (https://docs.cloud-init.io/en/latest/explanation/format.html).
const BEGINNINGS: &[&str] = &[
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type: multipart/mixed",
    "MIME-Version:",
];

/// What a user's own user data is called among the parts.
const OWN: &str = "user-data";
/// Of all files; the disk that they are on has no more room (`hypervisor-agent/src/disk/seed.rs`).
const MOST_BYTES: usize = 512 * 1024;

/// JSON is YAML, and quotes what a name or key may hold.
fn yaml(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn checked_key(key: &str) -> Result<&str, ApiError> {
    let key = key.trim();
    let mut parts = key.split_ascii_whitespace();
    let known = parts
        .next()
        .is_some_and(|kind| ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix)));
    if known && parts.next().is_some() && !key.contains('\n') {
        return Ok(key);
    }
    let problem = "give a public key, as in ~/.ssh/id_ed25519.pub";
    Err(ApiError::invalid("cloud_init.ssh_keys", problem))
}

/// What is replaced, by its name between `${` and `}`.
type Values<'a> = BTreeMap<&'a str, &'a str>;

/// Names of our own and the variables, each of which is used.
fn values<'a>(
    (name, hostname): (&'a str, &'a str),
    wanted: &'a CloudInit,
    fragments: &[Part],
) -> Result<Values<'a>, ApiError> {
    let mut values = Values::from([("name", name), ("hostname", hostname)]);
    let refused = |problem: String| Err(ApiError::invalid("cloud_init.variables", problem));
    for (key, value) in &wanted.variables {
        let letters = key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if key.is_empty() || !letters {
            return refused(format!("{key:?}: use letters, digits and _ for a variable's name"));
        }
        let place = format!("${{{key}}}");
        let own = [&wanted.user_data, &wanted.network_config].into_iter().flatten();
        let mut texts = own.chain(fragments.iter().map(|part| &part.text));
        if !texts.any(|text| text.contains(&place)) {
            return refused(format!("neither user_data, a fragment nor network_config has {place}"));
        }
        if values.insert(key, value).is_some() {
            return refused(format!("{place} is the VM's own; use another name"));
        }
    }
    Ok(values)
}

/// Each value in its places. What a value holds is not looked at again, and what is unknown is a script's own.
fn filled(text: &str, values: &Values<'_>) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        match after.split_once('}').and_then(|(key, then)| Some((*values.get(key)?, then))) {
            Some((value, then)) => {
                filled.push_str(value);
                rest = then;
            }
            None => {
                filled.push_str("${");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// What is asked for as user data, or what stands in for it.
fn own_user_data(hostname: &str, wanted: &CloudInit, values: &Values<'_>) -> Result<String, ApiError> {
    match &wanted.user_data {
        Some(_) if !wanted.ssh_keys.is_empty() => {
            let problem = "put the keys into user_data; it is given to the guest as it is";
            Err(ApiError::invalid("cloud_init.ssh_keys", problem))
        }
        Some(text) if !BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) => {
            let problem =
                "begin it with #cloud-config, #! or what else cloud-init knows; it would be ignored";
            Err(ApiError::invalid("cloud_init.user_data", problem))
        }
        Some(text) => Ok(filled(text, values)),
        None => {
            let keys = wanted.ssh_keys.iter().map(|key| checked_key(key)).collect::<Result<Vec<_>, _>>()?;
            let mut config = json!({ "hostname": hostname, "preserve_hostname": false });
            if !keys.is_empty() {
                config["ssh_authorized_keys"] = json!(keys);
            }
            Ok(format!("#cloud-config\n{}", yaml(&config)))
        }
    }
}

/// The fragments with their variables, and what is the VM's own behind them.
fn beside(fragments: &[Part], own: String, values: &Values<'_>) -> Result<String, ApiError> {
    let fill = |part: &Part| Part { name: part.name.clone(), text: filled(&part.text, values) };
    let own = Part { name: OWN.to_owned(), text: own };
    let parts: Vec<_> = fragments.iter().map(fill).chain([own]).collect();
    archive::joined(&parts).map_err(|name| {
        let problem =
            format_args!("beside fragments, use a #cloud-config, a script or a #cloud-boothook: {name}");
        ApiError::invalid("cloud_init.user_data", problem)
    })
}

/// The files by name. Of fragments, those that come later count for more, and what is `wanted` for most.
pub(super) fn files(
    (vm, name): (VmId, &str),
    wanted: &CloudInit,
    fragments: &[Part],
) -> Result<BTreeMap<String, String>, ApiError> {
    let hostname = wanted.hostname.as_deref().unwrap_or(name);
    if hostname.is_empty() || hostname.len() > 253 || hostname.contains(char::is_whitespace) {
        return Err(ApiError::invalid("cloud_init.hostname", "use 1 to 253 characters without spaces"));
    }
    let values = values((name, hostname), wanted, fragments)?;
    let own = own_user_data(hostname, wanted, &values)?;
    let user_data = if fragments.is_empty() { own } else { beside(fragments, own, &values)? };
    let meta_data = yaml(&json!({ "instance-id": vm.to_string(), "local-hostname": hostname }));
    let mut files =
        BTreeMap::from([("meta-data".to_owned(), meta_data), ("user-data".to_owned(), user_data)]);
    if let Some(network) = &wanted.network_config {
        if !network.contains("version:") && !network.contains("\"version\"") {
            let problem = "it needs a version (1 or 2), as cloud-init's network configuration has";
            return Err(ApiError::invalid("cloud_init.network_config", problem));
        }
        files.insert("network-config".to_owned(), filled(network, &values));
    }
    let bytes: usize = files.values().map(String::len).sum();
    if bytes > MOST_BYTES {
        let problem = format_args!("{bytes} bytes are too many; at most {} KiB fit", MOST_BYTES / 1024);
        return Err(ApiError::invalid("cloud_init", problem));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(wanted: CloudInit) -> Result<BTreeMap<String, String>, String> {
        told_beside(&[], wanted)
    }

    fn told_beside(fragments: &[Part], wanted: CloudInit) -> Result<BTreeMap<String, String>, String> {
        files((VmId::new(), "web-1"), &wanted, fragments)
            .map_err(|error| error.data.field.unwrap_or_default())
    }

    fn part(name: &str, text: &str) -> Part {
        Part { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_is_told() {
        let key = "ssh-ed25519 AAAAC3Nz ann@laptop".to_owned();
        let files = told(CloudInit { ssh_keys: vec![key.clone()], ..CloudInit::default() }).unwrap();
        let user_data = &files["user-data"];
        let config = user_data.strip_prefix("#cloud-config\n").unwrap();
        let config: serde_json::Value = serde_json::from_str(config).unwrap();
        assert_eq!((&config["hostname"], &config["ssh_authorized_keys"][0]), (&"web-1".into(), &key.into()));
        assert!(files["meta-data"].contains("instance-id") && !files.contains_key("network-config"));

        let script = CloudInit {
            hostname: Some("www".into()),
            user_data: Some("#!/bin/sh\necho ${name} ${hostname}\n".into()),
            network_config: Some("version: 2\n".into()),
            ..CloudInit::default()
        };
        let files = told(script).unwrap();
        assert_eq!(files["user-data"], "#!/bin/sh\necho web-1 www\n");
        assert_eq!(files["network-config"], "version: 2\n");
    }

    #[test]
    fn variables_are_filled_in_once_and_scripts_keep_their_own() {
        let variables = BTreeMap::from([
            ("role".to_owned(), "${name}".to_owned()),
            ("address".to_owned(), "10.0.0.7/24".to_owned()),
        ]);
        let wanted = CloudInit {
            user_data: Some("#!/bin/sh\necho ${role} ${name} ${PATH} ${role ${".into()),
            network_config: Some("version: 2\naddresses: [\"${address}\"]\n".into()),
            variables,
            ..CloudInit::default()
        };
        let files = told(wanted).unwrap();
        assert_eq!(files["user-data"], "#!/bin/sh\necho ${name} web-1 ${PATH} ${role ${");
        assert_eq!(files["network-config"], "version: 2\naddresses: [\"10.0.0.7/24\"]\n");
        for (case, key, text) in [
            ("used nowhere", "role", "#!/bin/sh\n"),
            ("no name", "", "#!/bin/sh\n${}\n"),
            ("a name with a blank", "a b", "#!/bin/sh\n${a b}\n"),
            ("the VM's own", "hostname", "#!/bin/sh\n${hostname}\n"),
        ] {
            let variables = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
            let wanted = CloudInit { user_data: Some(text.into()), variables, ..CloudInit::default() };
            assert_eq!(told(wanted).unwrap_err(), "cloud_init.variables", "{case}");
        }
    }

    #[test]
    fn fragments_come_with_their_variables_and_the_vms_own_part() {
        let script = part("join", "#!/bin/sh\njoin ${name} ${key}\n");
        let key = "ssh-ed25519 AAAAC3Nz ann@laptop".to_owned();
        let variables = BTreeMap::from([("key".to_owned(), "s3cret".to_owned())]);
        let wanted = CloudInit { ssh_keys: vec![key.clone()], variables, ..CloudInit::default() };
        let own = told(CloudInit { ssh_keys: vec![key], ..CloudInit::default() }).unwrap();
        let files = told_beside(std::slice::from_ref(&script), wanted).unwrap();
        let parts = [part("join", "#!/bin/sh\njoin web-1 s3cret\n"), part("user-data", &own["user-data"])];
        assert_eq!(files["user-data"], archive::joined(&parts).unwrap());

        let variables = BTreeMap::from([("key".to_owned(), "s3cret".to_owned())]);
        let unused = CloudInit { variables, ..CloudInit::default() };
        let base = part("base", "#cloud-config\n");
        assert_eq!(told_beside(std::slice::from_ref(&base), unused).unwrap_err(), "cloud_init.variables");
        let include =
            CloudInit { user_data: Some("#include https://example.org".into()), ..CloudInit::default() };
        assert_eq!(told_beside(&[base], include).unwrap_err(), "cloud_init.user_data");
        let long = part("long", &format!("#!/bin/sh\n{}", "#".repeat(MOST_BYTES)));
        assert_eq!(told_beside(&[long], CloudInit::default()).unwrap_err(), "cloud_init");
    }

    /// By cloud-init's own tool, where it is installed; it is given a minute. `xtask setup` does not install it: at the
    /// next boot it would set the machine up anew.
    #[test]
    fn cloud_init_finds_our_documents_valid() {
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().unwrap();
        let valid = |text: &str| {
            let file = folder.path().join("user-data");
            std::fs::write(&file, text).unwrap();
            let mut program = Command::new("timeout");
            program.args(["60", "cloud-init", "schema", "--config-file"]).arg(&file);
            let output = program.stdin(Stdio::null()).output().unwrap();
            // 127: there is no such program.
            (output.status.code() != Some(127)).then(|| {
                let said = [output.stdout, output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&said).into_owned())
            })
        };
        let keys = vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ann@laptop".to_owned()];
        let full = CloudInit { ssh_keys: keys, hostname: Some("www.example".into()), ..CloudInit::default() };
        for wanted in [CloudInit::default(), full] {
            let files = told(wanted).unwrap();
            let Some((good, said)) = valid(&files["user-data"]) else {
                return eprintln!("skipped: cloud-init is not installed");
            };
            assert!(good, "{said}\n{}", files["user-data"]);
        }
        // That the tool would say no.
        let (good, said) = valid("#cloud-config\nssh_authorized_keys: 7\n").unwrap();
        assert!(!good, "{said}");
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let with = |change: fn(&mut CloudInit)| {
            let mut wanted = CloudInit::default();
            change(&mut wanted);
            told(wanted).unwrap_err()
        };
        assert_eq!(with(|c| c.user_data = Some("packages: [vim]".into())), "cloud_init.user_data");
        assert_eq!(with(|c| c.ssh_keys = vec!["AAAA".into()]), "cloud_init.ssh_keys");
        assert_eq!(with(|c| c.hostname = Some("a b".into())), "cloud_init.hostname");
        assert_eq!(with(|c| c.network_config = Some("eth0".into())), "cloud_init.network_config");
        let both = |c: &mut CloudInit| {
            c.user_data = Some("#cloud-config\n".into());
            c.ssh_keys = vec!["ssh-rsa AAAA".into()];
        };
        assert_eq!(with(both), "cloud_init.ssh_keys");
    }
}
