//! Fragments and a VM's own user data as one: a MIME archive, which is cloud-init's own form for several parts
//! (https://docs.cloud-init.io/en/latest/explanation/format.html).
//!
//! What always holds: of two cloud-configs that set one value, the later one's is taken; lists are joined in the order of
//! the parts; tables are merged; scripts run in the order of the parts, and so do boothooks. A cloud-config with a
//! `merge_how` of its own is merged by that.
//!
//! cloud-init merges each cloud-config into those before it. None of its merges replaces values and joins lists in order,
//! so the cloud-configs are in the archive from the last to the first, each told to leave the values that are there and
//! to put its lists in front ([`MERGE`]). Scripts run in the order of their names, which therefore begin with a number.

use std::fmt::Write as _;

use data_encoding::BASE64_MIME;
use xenith_orchestrator_types::fragment::FragmentKind;

const JINJA: &str = "## template: jinja";
/// See the module's text.
const MERGE: &str = "list(prepend)+dict(no_replace,recurse_list)";
/// No line of Base64 has a hyphen.
const BOUNDARY: &str = "xenith-part";

/// A fragment as it is used, or a VM's own user data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub text: String,
}

/// What a text is, where it can be a part beside others. An archive cannot, nor what brings more from elsewhere: the order
/// of what is in there is not ours to keep. A boothook that is a template is passed by.
pub fn kind_of(text: &str) -> Option<FragmentKind> {
    let Some(rest) = text.strip_prefix(JINJA) else { return kind_of_body(text) };
    let body = rest.split_once('\n').map_or("", |(_, body)| body);
    kind_of_body(body).filter(|kind| *kind != FragmentKind::Boothook)
}

fn kind_of_body(body: &str) -> Option<FragmentKind> {
    let first = body.lines().next().unwrap_or_default().trim_end();
    match first {
        // Not `#cloud-config-archive` or `#cloud-config-jsonp`.
        "#cloud-config" => Some(FragmentKind::CloudConfig),
        _ if first.starts_with("#cloud-config ") => Some(FragmentKind::CloudConfig),
        _ if first.starts_with("#cloud-boothook") => Some(FragmentKind::Boothook),
        _ if first.starts_with("#!") => Some(FragmentKind::Script),
        _ => None,
    }
}

const fn content_type(kind: FragmentKind) -> &'static str {
    match kind {
        FragmentKind::CloudConfig => "text/cloud-config",
        FragmentKind::Script => "text/x-shellscript",
        FragmentKind::Boothook => "text/cloud-boothook",
    }
}

/// Safe in a header, and as the name of a file in the guest.
fn file_name(number: usize, name: &str) -> String {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String = name.chars().map(|letter| if fine(letter) { letter } else { '_' }).collect();
    format!("{number:02}-{name}")
}

/// The archive of parts that are in the order in which they count. The name of the one that cannot be among others, if
/// there is one.
pub fn joined(parts: &[Part]) -> Result<String, &str> {
    let mut in_order = Vec::new();
    let mut cloud_configs = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let kind = kind_of(&part.text).ok_or(part.name.as_str())?;
        let all = if kind == FragmentKind::CloudConfig { &mut cloud_configs } else { &mut in_order };
        all.push((number, kind, part));
    }
    let mut archive =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for (number, kind, part) in in_order.into_iter().chain(cloud_configs.into_iter().rev()) {
        let of = if part.text.starts_with(JINJA) { "text/jinja2" } else { content_type(kind) };
        let name = file_name(number, &part.name);
        let merge = match kind {
            FragmentKind::CloudConfig => format!("Merge-Type: {MERGE}\n"),
            FragmentKind::Script | FragmentKind::Boothook => String::new(),
        };
        // In Base64: a text may have any letters, and lines that look like the end of a part.
        let text = BASE64_MIME.encode(part.text.as_bytes()).replace("\r\n", "\n");
        let _never_fails = write!(
            archive,
            "--{BOUNDARY}\nContent-Type: {of}; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"{name}\"\n{merge}\n{text}"
        );
    }
    let _never_fails = writeln!(archive, "--{BOUNDARY}--");
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, text: &str) -> Part {
        Part { name: name.to_owned(), text: text.to_owned() }
    }

    /// Headers and text of each part.
    fn parts_of(archive: &str) -> Vec<(String, String)> {
        let (head, rest) = archive.split_once("\n\n").unwrap();
        assert!(head.starts_with("MIME-Version: 1.0\n") && head.contains(BOUNDARY), "{head}");
        let (whole, end) = rest.split_once(&format!("--{BOUNDARY}--\n")).unwrap();
        assert_eq!(end, "");
        let boundary = format!("--{BOUNDARY}\n");
        let parts = whole.split(boundary.as_str()).skip(1).map(|part| {
            let (headers, text) = part.split_once("\n\n").unwrap();
            let text = BASE64_MIME.decode(text.replace('\n', "\r\n").as_bytes()).unwrap();
            (headers.to_owned(), String::from_utf8(text).unwrap())
        });
        parts.collect()
    }

    #[test]
    fn what_a_text_is() {
        use FragmentKind::{Boothook, CloudConfig, Script};
        for (text, kind) in [
            ("#cloud-config\npackages: [vim]\n", Some(CloudConfig)),
            ("#cloud-config", Some(CloudConfig)),
            ("#cloud-config # ours\n", Some(CloudConfig)),
            ("#cloud-config\r\n", Some(CloudConfig)),
            ("## template: jinja\n#cloud-config\n", Some(CloudConfig)),
            ("## template: jinja\n#!/bin/sh\n", Some(Script)),
            ("#!/bin/sh\n", Some(Script)),
            ("#cloud-boothook\n#!/bin/sh\n", Some(Boothook)),
            ("## template: jinja\n#cloud-boothook\n#!/bin/sh\n", None),
            ("#cloud-config-archive\n", None),
            ("#cloud-config-jsonp\n", None),
            ("#include https://example.org\n", None),
            ("#part-handler\n", None),
            ("MIME-Version: 1.0\n", None),
            ("## template: jinja", None),
            ("packages: [vim]\n", None),
            ("", None),
        ] {
            assert_eq!(kind_of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn later_cloud_configs_come_first_and_scripts_stay_in_order() {
        let parts = [
            part("base", "#cloud-config\npackages: [vim]\n"),
            part("first \"run\"", "#!/bin/sh\necho eins\n"),
            part("web", "## template: jinja\n#cloud-config\npackages: [nginx]\n"),
            part("early", "#cloud-boothook\n#!/bin/sh\n"),
            part("user-data", "#cloud-config\n# Grüße\n"),
        ];
        let archive = joined(&parts).unwrap();
        let found = parts_of(&archive);
        let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
        let order = [1, 3, 4, 2, 0];
        assert_eq!(texts, order.map(|index| parts[index].text.as_str()));
        let names = ["02-first__run_", "04-early", "05-user-data", "03-web", "01-base"];
        let types = [
            "text/x-shellscript",
            "text/cloud-boothook",
            "text/cloud-config",
            "text/jinja2",
            "text/cloud-config",
        ];
        for ((headers, text), (name, of)) in found.iter().zip(names.into_iter().zip(types)) {
            assert!(headers.contains(&format!("filename=\"{name}\"")), "{headers}");
            assert!(headers.contains(&format!("Content-Type: {of};")), "{headers}");
            assert_eq!(
                headers.contains("Merge-Type: list(prepend)"),
                text.contains("#cloud-config"),
                "{headers}"
            );
        }
        assert!(archive.is_ascii() && archive.lines().all(|line| line.len() < 100), "{archive}");
    }

    #[test]
    fn what_cannot_be_among_others_is_named() {
        let parts = [part("base", "#cloud-config\n"), part("user-data", "#include https://example.org\n")];
        assert_eq!(joined(&parts), Err("user-data"));
    }

    /// By Python's reader of mail, which is the one that cloud-init uses.
    #[test]
    fn the_reader_of_cloud_init_finds_the_parts() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        const READER: &str = "import email,sys\n\
            for part in email.message_from_string(sys.stdin.read()).walk():\n\
            \x20   if not part.is_multipart():\n\
            \x20       text = part.get_payload(decode=True).decode()\n\
            \x20       print(part.get_content_type(), part.get_filename(), part['Merge-Type'], repr(text))\n";
        let text = format!("#cloud-config\nwrite_files: [\"{}\"]\n", "ä--".repeat(100));
        let archive =
            joined(&[part("base", "#!/bin/sh\n--xenith-part--\n"), part("user-data", &text)]).unwrap();
        let mut program = Command::new("python3");
        program.args(["-c", READER]).env("PYTHONIOENCODING", "utf-8");
        let Ok(mut reader) = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return eprintln!("skipped: python3 is not installed");
        };
        reader.stdin.take().unwrap().write_all(archive.as_bytes()).unwrap();
        let said = String::from_utf8(reader.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], r"text/x-shellscript 01-base None '#!/bin/sh\n--xenith-part--\n'");
        let told = format!("text/cloud-config 02-user-data {MERGE} '{}'", text.replace('\n', "\\n"));
        assert_eq!(lines[1..], [told]);
    }
}
