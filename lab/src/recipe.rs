//! The recipe of a host's root filesystem: data files of `lab/rootfs`, read by the lab and by the installer.
//!
//! The files are compiled in, so that a binary needs no checkout and a changed file is a changed binary.
//! What always holds: equal hash, equal recipe. The hash does not cover the state of the Debian archive;
//! two machines with the same hash may have different security updates.

/// What the tree is for. Every flavour starts from the same packages and the same `customise.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// What the installer ships.
    Plain,
    /// A host in QEMU: fewer drivers, fixed addresses, the lab's SSH key.
    Lab,
}

/// One file of the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipeFile {
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! file {
    ($name:literal) => {
        RecipeFile { name: $name, text: include_str!(concat!("../rootfs/", $name)) }
    };
}

const PACKAGES: RecipeFile = file!("packages");
const PACKAGES_LAB: RecipeFile = file!("packages.lab");
const EXCLUDES: RecipeFile = file!("excludes");
const EXCLUDES_LAB: RecipeFile = file!("excludes.lab");
const CUSTOMISE: RecipeFile = file!("customise.sh");
const EARLY_LAB: RecipeFile = file!("early.lab.sh");
const CUSTOMISE_LAB: RecipeFile = file!("customise.lab.sh");
const PACK_LAB: RecipeFile = file!("pack.sh");

/// Debian 12: its Xen 4.17 and kernel are what the lab is measured with.
pub const SUITE: &str = "bookworm";

/// Raised when the code that cooks changes what comes out.
const COOK_VERSION: u32 = 1;

/// Size of the root file system, MiB. It only costs what is used; 4 GiB leaves room for logs, kernels and guests.
pub const IMAGE_MIB: u32 = 4096;

/// A recipe, ready to be cooked.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    flavour: Flavour,
}

impl Recipe {
    #[must_use]
    pub const fn new(flavour: Flavour) -> Self {
        Self { flavour }
    }

    /// Debian packages to install.
    #[must_use]
    pub fn packages(&self) -> Vec<&'static str> {
        self.lines(PACKAGES, PACKAGES_LAB)
    }

    /// Paths never unpacked, for dpkg's `path-exclude`.
    #[must_use]
    pub fn excludes(&self) -> Vec<&'static str> {
        self.lines(EXCLUDES, EXCLUDES_LAB)
    }

    /// Scripts run after the essential packages, before all others.
    #[must_use]
    pub fn early(&self) -> Vec<RecipeFile> {
        self.lab_only(&[EARLY_LAB])
    }

    /// Scripts run on the finished tree, in order.
    #[must_use]
    pub fn customise(&self) -> Vec<RecipeFile> {
        let mut files = vec![CUSTOMISE];
        files.extend(self.lab_only(&[CUSTOMISE_LAB, PACK_LAB]));
        files
    }

    /// Changes when, and only when, the recipe does: 16 hex digits.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&format!("{COOK_VERSION} {SUITE} {IMAGE_MIB} {:?}", self.flavour));
        for line in self.packages().into_iter().chain(self.excludes()) {
            part(line);
        }
        for file in self.early().into_iter().chain(self.customise()) {
            part(file.name);
            part(file.text);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn lines(&self, all: RecipeFile, lab: RecipeFile) -> Vec<&'static str> {
        let mut lines = parse_list(all.text);
        if self.flavour == Flavour::Lab {
            lines.extend(parse_list(lab.text));
        }
        lines
    }

    fn lab_only(&self, files: &[RecipeFile]) -> Vec<RecipeFile> {
        if self.flavour == Flavour::Lab { files.to_vec() } else { Vec::new() }
    }
}

/// One entry a line; `#` begins a comment line.
fn parse_list(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_comments_and_blank_lines() {
        assert_eq!(parse_list("# why\na\n\n  b  \n"), ["a", "b"]);
    }

    #[test]
    fn the_installer_gets_the_same_packages_without_the_labs() {
        let plain = Recipe::new(Flavour::Plain).packages();
        let lab = Recipe::new(Flavour::Lab).packages();
        assert!(plain.iter().all(|p| lab.contains(p)));
        assert!(plain.contains(&"xen-hypervisor-4.17-amd64"));
        assert!(lab.contains(&"busybox-static") && !plain.contains(&"busybox-static"));
    }

    #[test]
    fn flavours_have_hashes_of_their_own_that_stay() {
        let lab = Recipe::new(Flavour::Lab).hash();
        assert_eq!(lab.len(), 16);
        assert_eq!(lab, Recipe::new(Flavour::Lab).hash());
        assert_ne!(lab, Recipe::new(Flavour::Plain).hash());
    }

    #[test]
    fn every_package_is_named_once() {
        let mut packages = Recipe::new(Flavour::Lab).packages();
        let count = packages.len();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), count);
    }
}
