//! A program's settings: a TOML file, or the defaults where nobody wrote one.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {detail}")]
    Syntax { path: PathBuf, detail: String },
}

/// Reads the file that was `named`; without one, the `usual` one where it exists, else the defaults.
pub fn settings<T: Default + DeserializeOwned>(
    named: Option<&Path>,
    usual: &Path,
) -> Result<T, SettingsError> {
    let path = named.unwrap_or(usual);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => return Ok(T::default()),
        Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
    };
    toml::from_str(&text)
        .map_err(|error| SettingsError::Syntax { path: path.to_owned(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Numbers = BTreeMap<String, BTreeMap<String, u8>>;

    #[test]
    fn a_file_that_was_named_has_to_be_there_and_the_usual_one_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let (there, nowhere) = (folder.path().join("a.toml"), folder.path().join("none.toml"));
        fs::write(&there, "[numbers]\none = 1\n").unwrap();
        assert_eq!(settings::<Numbers>(None, &there).unwrap()["numbers"]["one"], 1);
        assert_eq!(settings::<Numbers>(Some(&there), &nowhere).unwrap()["numbers"]["one"], 1);
        assert!(settings::<Numbers>(None, &nowhere).unwrap().is_empty());
        let missing = settings::<Numbers>(Some(&nowhere), &there).unwrap_err().to_string();
        assert!(missing.contains("none.toml"), "{missing}");
        fs::write(&there, "numbers = 1\n").unwrap();
        let wrong = settings::<Numbers>(None, &there).unwrap_err().to_string();
        assert!(wrong.contains("a.toml") && wrong.contains("line 1"), "{wrong}");
    }
}
