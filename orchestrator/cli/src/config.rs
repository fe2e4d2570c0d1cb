//! The orchestrators that this machine knows: `$XDG_CONFIG_HOME/xenith/contexts.toml`.
//!
//! The file holds sessions, so only its owner may read it: it is made with mode 0600 and one that others can read is
//! refused. It is replaced as a whole (write, rename), under a lock, so that two logins at once both count and a
//! crash leaves the old file or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xenith_common_pki::Fingerprint;
use xenith_orchestrator_client::{Credential, Endpoint, Trust};

use crate::cli::Global;
use crate::error::CliError;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub url: String,
    /// Without one, the system's authorities are trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A session, or an API token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whom to talk to, how to know them, and what to sign in with.
#[derive(Debug, Clone)]
pub struct Target {
    pub endpoint: Endpoint,
    pub trust: Trust,
    pub credential: Credential,
    /// The context that it came from.
    pub context: Option<String>,
}

/// The folder, whether it is there or not.
fn folder() -> Result<PathBuf, CliError> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("xenith"))
        .ok_or_else(|| CliError::usage("neither XDG_CONFIG_HOME nor HOME is set: no place for contexts"))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { what, path, source }
}

impl Contexts {
    /// What is stored; nothing when there is no file.
    pub fn load() -> Result<Self, CliError> {
        Self::load_from(&folder()?)
    }

    fn load_from(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join("contexts.toml");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mode = file.metadata().map_err(failed("read", &path))?.mode();
        if mode & 0o077 != 0 {
            let shown = path.display();
            return Err(CliError::usage_next(
                format!("{shown} holds sessions and others may read it (mode {:03o})", mode & 0o777),
                format!("chmod 600 {shown}; if somebody may have read it: xenith logout, then xenith login"),
            ));
        }
        let text = io::read_to_string(file).map_err(failed("read", &path))?;
        toml::from_str(&text).map_err(|error| {
            let problem = format!("{} is damaged: {}", path.display(), error.message());
            CliError::usage_next(problem, "mend it, or remove it and sign in again: xenith login")
        })
    }

    /// Changes what is stored.
    pub fn update<T>(change: impl FnOnce(&mut Self) -> Result<T, CliError>) -> Result<T, CliError> {
        Self::update_in(&folder()?, change)
    }

    fn update_in<T>(
        folder: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder", folder))?;
        let lock_path = folder.join("lock");
        let lock = private().open(&lock_path).map_err(failed("open", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let mut contexts = Self::load_from(folder)?;
        let result = change(&mut contexts)?;
        let text = toml::to_string(&contexts)
            .map_err(|error| CliError::usage(format!("the contexts cannot be written as TOML: {error}")))?;
        let (path, new) = (folder.join("contexts.toml"), folder.join("contexts.toml.new"));
        // Not a leftover's mode, and no link that somebody put there.
        let _was_not_there = fs::remove_file(&new);
        let mut file = private().create_new(true).open(&new).map_err(failed("write", &new))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        Ok(result)
    }

    /// The context by that name.
    pub fn find(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let next = match known.as_slice() {
                [] => "there is none yet; sign in: xenith login URL".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            CliError::usage_next(format!("there is no context {name:?}"), next)
        })
    }

    /// Whom this call is for: arguments and environment first, then the current context.
    pub fn target(&self, global: &Global) -> Result<Target, CliError> {
        let chosen = self.chosen(global)?;
        let endpoint = match (&global.endpoint, chosen) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some((_, context))) => context.url.parse()?,
            (None, None) => {
                return Err(CliError::usage_next(
                    "no orchestrator is known",
                    "sign in: xenith login URL; or set XENITH_URL and XENITH_TOKEN",
                ));
            }
        };
        let stored_pin = chosen.and_then(|(_, context)| context.fingerprint.as_deref());
        let pin = match (global.pin, stored_pin) {
            (Some(pin), _) => Some(pin),
            (None, Some(text)) => Some(parse_pin(text)?),
            (None, None) => None,
        };
        let stored = chosen.and_then(|(_, context)| context.credential.clone());
        let token = std::env::var("XENITH_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Target {
            endpoint,
            trust: pin.map_or(Trust::System, Trust::Pinned),
            credential: token.or(stored).map_or(Credential::None, Credential::Bearer),
            context: chosen.map(|(name, _)| name.to_owned()),
        })
    }

    /// With --url, only a context for that very address counts: a session goes to nobody else.
    fn chosen<'a>(&'a self, global: &'a Global) -> Result<Option<(&'a str, &'a Context)>, CliError> {
        let same = |context: &Context| {
            global.endpoint.as_ref().is_none_or(|wanted| {
                context.url.parse::<Endpoint>().is_ok_and(|endpoint| endpoint == *wanted)
            })
        };
        if let Some(name) = &global.context {
            let context = self.find(name)?;
            if !same(context) {
                return Err(CliError::usage(format!("--url is not the address of the context {name:?}")));
            }
            return Ok(Some((name, context)));
        }
        let current = self.current.as_deref().and_then(|name| self.contexts.get_key_value(name));
        let candidates = current.into_iter().chain(
            // Without --url, only the current one.
            self.contexts.iter().filter(|_| global.endpoint.is_some()),
        );
        Ok(candidates
            .filter(|(_, context)| same(context))
            .map(|(name, context)| (name.as_str(), context))
            .next())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    options
}

fn parse_pin(text: &str) -> Result<Fingerprint, CliError> {
    text.parse().map_err(|_| {
        CliError::usage_next(
            "the fingerprint in the contexts is damaged",
            "sign in again with: xenith login URL --fingerprint SHA256",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context(url: &str) -> Context {
        Context { url: url.into(), fingerprint: None, user: None, credential: Some("s".into()) }
    }

    #[test]
    fn the_file_is_private_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/xenith");
        assert_eq!(Contexts::load_from(&place).unwrap(), Contexts::default());
        let add = |name: &str| {
            Contexts::update_in(&place, |contexts| {
                contexts.contexts.insert(name.to_owned(), context("https://a:8443"));
                contexts.current = Some(name.to_owned());
                Ok(())
            })
        };
        add("one").unwrap();
        add("two").unwrap();
        let loaded = Contexts::load_from(&place).unwrap();
        assert_eq!(loaded.contexts.keys().collect::<Vec<_>>(), ["one", "two"]);
        let path = place.join("contexts.toml");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o700);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Contexts::load_from(&place).unwrap_err();
        assert!(error.to_string().contains("others may read it (mode 644)"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        fs::write(&path, "current = [").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Contexts::load_from(folder.path()).unwrap_err();
        assert!(error.to_string().contains("contexts.toml is damaged"), "{error}");
    }
}
