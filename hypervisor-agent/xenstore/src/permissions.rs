//! Who may read and write a node.

use xenith_common_ids::DomId;

/// What one domain may do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    None,
    Read,
    Write,
    ReadWrite,
}

/// The permissions of a node. The owner may always read and write, and so may the control domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    pub owner: DomId,
    /// For every domain that is not named in `others`.
    pub everyone_else: Access,
    pub others: Vec<(DomId, Access)>,
}

/// The daemon's answer is not a list of permissions such as `n0`, `r5`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a xenstore permission such as r5 (n, r, w or b, and a domain)")]
pub struct ParsePermissionsError(String);

impl Permissions {
    /// Of the control domain alone.
    #[must_use]
    pub const fn private() -> Self {
        Self { owner: DomId::DOM0, everyone_else: Access::None, others: Vec::new() }
    }

    /// The same, and `domain` may do `access`.
    #[must_use]
    pub fn and(mut self, domain: DomId, access: Access) -> Self {
        self.others.push((domain, access));
        self
    }

    /// In the protocol's form: the first entry is the owner with what everyone else may do.
    pub(crate) fn to_strings(&self) -> Vec<String> {
        std::iter::once((self.owner, self.everyone_else))
            .chain(self.others.iter().copied())
            .map(|(domain, access)| format!("{}{domain}", access.letter()))
            .collect()
    }

    pub(crate) fn parse<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Result<Self, ParsePermissionsError> {
        let mut entries = strings.map(parse_entry);
        let (owner, everyone_else) =
            entries.next().unwrap_or_else(|| Err(ParsePermissionsError(String::new())))?;
        Ok(Self { owner, everyone_else, others: entries.collect::<Result<_, _>>()? })
    }
}

impl Access {
    const fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::ReadWrite => 'b',
        }
    }
}

fn parse_entry(entry: &[u8]) -> Result<(DomId, Access), ParsePermissionsError> {
    let wrong = || ParsePermissionsError(String::from_utf8_lossy(entry).chars().take(40).collect());
    let (letter, digits) = entry.split_first().ok_or_else(wrong)?;
    let access = match letter {
        b'n' => Access::None,
        b'r' => Access::Read,
        b'w' => Access::Write,
        b'b' => Access::ReadWrite,
        _ => return Err(wrong()),
    };
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    Ok((DomId(digits.and_then(|text| text.parse().ok()).ok_or_else(wrong)?), access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (name, entries, valid) in [
            ("owner alone", &["n0"][..], true),
            ("guest reads", &["n0", "r5"], true),
            ("all kinds", &["b3", "n1", "r2", "w4", "b5"], true),
            ("no entry", &[], false),
            ("unknown letter", &["x0"], false),
            ("no domain", &["n"], false),
            ("signed", &["r+5"], false),
            ("too large", &["r99999999999"], false),
            ("bad second", &["n0", ""], false),
        ] {
            let parsed = Permissions::parse(entries.iter().map(|entry| entry.as_bytes()));
            assert_eq!(parsed.is_ok(), valid, "{name}");
            if let Ok(permissions) = parsed {
                assert_eq!(permissions.to_strings(), entries, "{name}");
            }
        }
    }
}
