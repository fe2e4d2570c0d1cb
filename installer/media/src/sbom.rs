//! What the medium consists of, as an SPDX 2.3 document: every Debian package with its version, and the names of the
//! licences that its copyright file declares. Our own part is one package.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// `packages`: name, version, source, source version, homepage, separated by tabs. `licences`: package, licence.
pub fn spdx(version: &str, source_date: &str, packages: &str, licences: &str) -> Value {
    let mut declared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in licences.lines() {
        if let Some((package, licence)) = line.split_once('\t') {
            declared.entry(package).or_default().insert(licence.trim());
        }
    }
    let ours = json!({
        "SPDXID": "SPDXRef-xenith",
        "name": "xenith",
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "licenseDeclared": "AGPL-3.0-only",
    });
    let debian = packages.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, source, source_version, homepage] = fields[..] else { return None };
        let licences = declared.get(name).map(|set| set.iter().copied().collect::<Vec<_>>().join("; "));
        Some(json!({
            "SPDXID": format!("SPDXRef-deb-{}", name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "-")),
            "name": name,
            "versionInfo": version,
            "sourceInfo": format!("built from {source} {source_version} of Debian"),
            "homepage": if homepage.is_empty() { "NOASSERTION" } else { homepage },
            "downloadLocation": "NOASSERTION",
            // Debian's names are not SPDX's: what the copyright file says stands in the comment, word for word.
            "licenseDeclared": "NOASSERTION",
            "licenseComments": licences.unwrap_or_else(|| "see /usr/share/doc/PACKAGE/copyright".to_owned()),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": format!("pkg:deb/debian/{name}@{version}?arch=amd64&distro=bookworm"),
            }],
        }))
    });
    let packages: Vec<Value> = [ours].into_iter().chain(debian).collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("xenith-{version}-amd64.iso"),
        "documentNamespace": format!("https://xenith.invalid/spdx/{version}/{source_date}"),
        "creationInfo": { "created": source_date, "creators": ["Tool: xenith-iso"] },
        "packages": packages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_version_source_and_licences() {
        let packages = "libc6\t2.36-9\tglibc\t2.36-9\thttps://x\nzlib1g\t1:1.2\tzlib\t1:1.2\t\n";
        let document = spdx("0.1.0", "2026-01-01T00:00:00Z", packages, "libc6\tGPL-2\nlibc6\tLGPL-2.1\n");
        let list = document["packages"].as_array().unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(list[0]["licenseDeclared"], "AGPL-3.0-only");
        assert_eq!(list[1]["licenseComments"], "GPL-2; LGPL-2.1");
        assert_eq!(list[1]["sourceInfo"], "built from glibc 2.36-9 of Debian");
        assert_eq!(
            (&list[2]["homepage"], &list[2]["SPDXID"]),
            (&json!("NOASSERTION"), &json!("SPDXRef-deb-zlib1g"))
        );
    }
}
