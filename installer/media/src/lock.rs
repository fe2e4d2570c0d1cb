//! The versions of all packages of the medium, in the repository: `installer/media/packages.lock`.
//!
//! apt is told to take exactly these, and afterwards what was installed is compared. Debian's archive keeps a version
//! only until the next one; older ones are at snapshot.debian.org:
//! `XENITH_DEBIAN_MIRROR='http://snapshot.debian.org/archive/{archive}/20260101T000000Z'`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Package and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock(BTreeMap<String, String>);

/// In the checkout that this program was built from.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packages.lock")
}

impl Lock {
    /// As `dpkg-query` prints it: `name version`, a line each.
    pub fn parse(text: &str) -> Result<Self> {
        let mut packages = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (name, version) =
                line.trim().split_once(' ').with_context(|| format!("{line:?} is no package and version"))?;
            packages.insert(name.to_owned(), version.to_owned());
        }
        Ok(Self(packages))
    }

    /// The repository's.
    pub fn load() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; `cargo xtask iso --update-lock` makes it", path.display())
        })?;
        Self::parse(&text)
    }

    /// For `/etc/apt/preferences.d`: above 1000, so that apt would even go back to an older version.
    #[must_use]
    pub fn preferences(&self) -> String {
        let mut text = String::new();
        for (name, version) in &self.0 {
            writeln!(text, "Package: {name}\nPin: version {version}\nPin-Priority: 1001\n")
                .expect("writing to a String cannot fail");
        }
        text
    }

    /// Fails with what differs.
    pub fn compare(&self, installed: &Self) -> Result<()> {
        let mut differences = Vec::new();
        for (name, version) in &installed.0 {
            match self.0.get(name) {
                None => differences.push(format!("{name} {version} is not locked")),
                Some(locked) if locked != version => {
                    differences.push(format!("{name} is {version}, locked is {locked}"));
                }
                Some(_) => {}
            }
        }
        let gone = self.0.keys().filter(|name| !installed.0.contains_key(*name));
        differences.extend(gone.map(|name| format!("{name} is locked and was not installed")));
        if differences.is_empty() {
            return Ok(());
        }
        let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ");
        bail!(
            "the packages are not the locked ones ({} differences):\n  {shown}\nDebian has newer ones: \
             `cargo xtask iso --update-lock` takes them, or XENITH_DEBIAN_MIRROR names an archive that has the old ones",
            differences.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_with_the_way_out() {
        let locked = Lock::parse("a 1\nb 2\nc 3\n").unwrap();
        assert!(locked.compare(&locked).is_ok());
        let error = locked.compare(&Lock::parse("a 1\nb 3\nd 1\n").unwrap()).unwrap_err().to_string();
        for part in
            ["3 differences", "b is 3, locked is 2", "d 1 is not locked", "c is locked", "--update-lock"]
        {
            assert!(error.contains(part), "{error}");
        }
        assert!(Lock::parse("a\n").is_err());
    }

    #[test]
    fn apt_is_told_each_version() {
        let text = Lock::parse("a 1:2+deb12u1\n").unwrap().preferences();
        assert_eq!(text, "Package: a\nPin: version 1:2+deb12u1\nPin-Priority: 1001\n\n");
    }
}
