//! Where in a TOML text something stands: the parser's errors have a place and no name, ours a name and no place.

/// Line of a byte, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The dotted name of what stands at a byte; empty where that is nothing with a name.
pub fn field_at(text: &str, offset: usize) -> String {
    let line = line_of(text, offset);
    let mut table = "";
    let mut last_key = "";
    for (number, content) in text.lines().enumerate() {
        if number >= line {
            break;
        }
        if let Some(name) = table_name(content) {
            (table, last_key) = (name, "");
        } else if let Some(key) = key(content) {
            last_key = key;
        }
    }
    [table, last_key].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".")
}

/// Line of `key` in `[table]`; of the table where the key is missing; 1 where both are.
pub fn line_of_field(text: &str, table: &str, wanted: &str) -> usize {
    let mut current = "";
    let mut found = 1;
    for (number, content) in text.lines().enumerate() {
        if let Some(name) = table_name(content) {
            current = name;
            if current == table {
                found = number + 1;
            }
        } else if current == table && key(content) == Some(wanted) {
            return number + 1;
        }
    }
    found
}

fn table_name(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix('[')?.split(']').next()?.trim();
    // A line of an array of several lines begins with a bracket too, but holds no bare name.
    let bare = !inner.is_empty() && inner.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    bare.then_some(inner)
}

fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    bare.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = 1\n[target]\ndisks = [\n  \"/dev/sda\",\n]\n\n[network]\nvlan = 5000\n";

    #[test]
    fn a_place_gets_its_name() {
        for (needle, line, field) in [
            ("version", 1, "version"),
            ("/dev/sda", 4, "target.disks"),
            ("5000", 8, "network.vlan"),
            ("[network]", 7, "network"),
        ] {
            let offset = TEXT.find(needle).unwrap();
            assert_eq!((line_of(TEXT, offset), field_at(TEXT, offset).as_str()), (line, field), "{needle}");
        }
    }

    #[test]
    fn a_name_gets_its_place() {
        for (table, key, line) in
            [("", "version", 1), ("target", "disks", 3), ("target", "erase", 2), ("none", "x", 1)]
        {
            assert_eq!(line_of_field(TEXT, table, key), line, "{table}.{key}");
        }
    }
}
