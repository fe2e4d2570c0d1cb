//! The recipe of a host's root filesystem: data files of `lab/rootfs`, read by the lab and by the installer.
//!
//! The files are compiled in, so that a binary needs no checkout and a changed file is a changed binary.
//! What always holds: equal hash, equal recipe. The hash does not cover the state of the Debian archive;
//! two machines with the same hash may have different security updates.

/// What the tree is for. Every flavour starts from the same packages and the same `customise.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// What the installer medium carries and installs: boot loaders, file systems, drivers of real machines.
    Iso,
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
const PACKAGES_ISO: RecipeFile = file!("packages.iso");
const EXCLUDES: RecipeFile = file!("excludes");
const EXCLUDES_ISO: RecipeFile = file!("excludes.iso");
const INCLUDES_ISO: RecipeFile = file!("includes.iso");
const EXCLUDES_LAB: RecipeFile = file!("excludes.lab");
const CUSTOMISE: RecipeFile = file!("customise.sh");
const EARLY_LAB: RecipeFile = file!("early.lab.sh");
const EARLY_ISO: RecipeFile = file!("early.iso.sh");
const CUSTOMISE_LAB: RecipeFile = file!("customise.lab.sh");
const PACK_LAB: RecipeFile = file!("pack.sh");
const CUSTOMISE_ISO: RecipeFile = file!("customise.iso.sh");
const PACK_ISO: RecipeFile = file!("pack.iso.sh");

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
        self.lines(PACKAGES, PACKAGES_LAB, PACKAGES_ISO)
    }

    /// Paths never unpacked, for dpkg's `path-exclude`.
    #[must_use]
    pub fn excludes(&self) -> Vec<&'static str> {
        self.lines(EXCLUDES, EXCLUDES_LAB, EXCLUDES_ISO)
    }

    /// Paths unpacked although one of [`Self::excludes`] fits them.
    #[must_use]
    pub fn includes(&self) -> Vec<&'static str> {
        match self.flavour {
            Flavour::Iso => parse_list(INCLUDES_ISO.text),
            Flavour::Lab => Vec::new(),
        }
    }

    /// Scripts run after the essential packages, before all others.
    #[must_use]
    pub fn early(&self) -> Vec<RecipeFile> {
        match self.flavour {
            Flavour::Iso => vec![EARLY_ISO],
            Flavour::Lab => vec![EARLY_LAB],
        }
    }

    /// Scripts run on the finished tree, in order.
    #[must_use]
    pub fn customise(&self) -> Vec<RecipeFile> {
        match self.flavour {
            Flavour::Iso => vec![CUSTOMISE, CUSTOMISE_ISO, PACK_ISO],
            Flavour::Lab => vec![CUSTOMISE, CUSTOMISE_LAB, PACK_LAB],
        }
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
        for line in self.packages().into_iter().chain(self.excludes()).chain(self.includes()) {
            part(line);
        }
        for file in self.early().into_iter().chain(self.customise()) {
            part(file.name);
            part(file.text);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn lines(&self, all: RecipeFile, lab: RecipeFile, iso: RecipeFile) -> Vec<&'static str> {
        let own = match self.flavour {
            Flavour::Iso => iso,
            Flavour::Lab => lab,
        };
        let mut lines = parse_list(all.text);
        lines.extend(parse_list(own.text));
        lines
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
    fn what_the_lab_tests_is_what_the_installer_ships() {
        let iso = Recipe::new(Flavour::Iso);
        let lab = Recipe::new(Flavour::Lab).packages();
        let shared = parse_list(PACKAGES.text);
        assert!(shared.contains(&"xen-hypervisor-4.17-amd64"));
        assert!(shared.iter().all(|package| lab.contains(package) && iso.packages().contains(package)));
        assert!(lab.contains(&"busybox-static") && !iso.packages().contains(&"busybox-static"));
        assert!(iso.packages().contains(&"grub-pc-bin") && !lab.contains(&"grub-pc-bin"));
        // Programs that the agent, and the orchestrator beside it, start by name.
        assert!(shared.contains(&"wireguard-tools") && iso.packages().contains(&"ipmitool"));
        assert_eq!(iso.customise()[0], Recipe::new(Flavour::Lab).customise()[0]);
    }

    #[test]
    fn dom0_leaves_what_guests_have_on_their_disks_alone() {
        for part in [
            r#"KERNEL=="loop*", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1""#,
            // How the agent calls volumes: hypervisor-agent/storage/src/lvm_thin/names.rs.
            r#"ENV{DM_NAME}=="*-xenith_*", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1""#,
            r#"global_filter = [ "r|^/dev/loop|", "r|^/dev/nbd|" ]"#,
        ] {
            assert!(CUSTOMISE.text.contains(part), "{part}");
        }
    }

    #[test]
    fn flavours_have_hashes_of_their_own_that_stay() {
        let lab = Recipe::new(Flavour::Lab).hash();
        assert_eq!(lab.len(), 16);
        assert_eq!(lab, Recipe::new(Flavour::Lab).hash());
        assert_ne!(lab, Recipe::new(Flavour::Iso).hash());
    }

    #[test]
    fn every_package_is_named_once() {
        for flavour in [Flavour::Lab, Flavour::Iso] {
            let mut packages = Recipe::new(flavour).packages();
            let count = packages.len();
            packages.sort_unstable();
            packages.dedup();
            assert_eq!(packages.len(), count, "{flavour:?}");
        }
    }
}
