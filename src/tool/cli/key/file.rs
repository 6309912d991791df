//! The file of `[[key]]` tables that `key import` maintains.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::base::files;
use crate::base::limits::CONFIG_BYTES;
use crate::net::oracle::Ocid;
use crate::tool::cli::output::{CliError, Exit};
use crate::trust::{Fingerprint, PublicKey};

/// Tables of one key in a vault, one for each version.
pub(super) struct KeyFile {
    path: PathBuf,
    key_id: Ocid,
    tables: Vec<Table>,
    /// PEM files to write in the same directory.
    pems: Vec<(PathBuf, String)>,
    changed: bool,
}

/// Change to one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    /// The version has been added.
    New,
    /// The version is no longer enabled in the vault. Its table now has `revoked = true`, so that rules that name it still
    /// load.
    Revoked,
    /// The file revokes the version although the vault enables it. The administrator's decision stays.
    RevokedHere,
    /// The version is unchanged.
    Unchanged,
}

impl KeyChange {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Revoked => "revoked",
            Self::RevokedHere => "revoked here",
            Self::Unchanged => "unchanged",
        }
    }
}

impl KeyFile {
    /// Reads the file if it exists. A file with anything but tables of this key is refused, because it was not written by
    /// `key import`.
    pub(super) fn read(path: PathBuf, key_id: Ocid) -> Result<Self, CliError> {
        let mut file = Self {
            path,
            key_id,
            tables: Vec::new(),
            pems: Vec::new(),
            changed: false,
        };
        if exists(&file.path)? {
            file.tables = file.read_tables()?;
        }
        Ok(file)
    }

    fn read_tables(&self) -> Result<Vec<Table>, CliError> {
        let not_our_file = || {
            let message = format!(
                "`{}` is not a file that `key import` wrote for this key",
                self.path.display()
            );
            CliError::new(message, Exit::Usage).hint("give another --name or --output")
        };
        let text =
            files::read_text(&self.path, CONFIG_BYTES).map_err(|error| not_our_file().because(error))?;
        let mut document: Table = toml::from_str(&text).map_err(|error| not_our_file().because(error))?;
        let keys = document.remove("key");
        let (true, Some(Value::Array(keys))) = (document.is_empty(), keys) else {
            return Err(not_our_file());
        };
        let is_ours = |table: &Table| {
            text_field(table, "kms_key_id") == Some(self.key_id.as_str())
                && ["kms_key_version_id", "name", "public_key"]
                    .iter()
                    .all(|field| text_field(table, field).is_some())
        };
        keys.into_iter()
            .map(|key| {
                let table = Table::try_from(key).map_err(|error| not_our_file().because(error))?;
                if is_ours(&table) {
                    Ok(table)
                } else {
                    Err(not_our_file())
                }
            })
            .collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lists the versions that have a table.
    pub(super) fn versions(&self) -> impl Iterator<Item = &str> {
        self.tables
            .iter()
            .filter_map(|table| text_field(table, "kms_key_version_id"))
    }

    /// Returns the name by which rules refer to a version.
    pub(super) fn name_of(&self, version: &str) -> Option<&str> {
        text_field(self.table(version)?, "name")
    }

    /// Adds an enabled version.
    ///
    /// # Errors
    /// When the public key differs from the one that was imported before: the key pair of a version never changes, so one
    /// of the two is not the vault's.
    pub(super) fn add(&mut self, version: &Ocid, name: &str, key: &PublicKey) -> Result<KeyChange, CliError> {
        let unwritable =
            |error| CliError::new("could not encode the public key", Exit::CouldNotTell).because(error);
        let pem = key.to_pem().map_err(unwritable)?;
        let Some(table) = self.table(version.as_str()) else {
            if self
                .tables
                .iter()
                .any(|table| text_field(table, "name") == Some(name))
            {
                let message = format!("the name `{name}` already belongs to another version");
                return Err(CliError::new(message, Exit::Usage)
                    .hint("rename that version's table, or give another --name"));
            }
            let file = format!("{name}.pem");
            let mut table = Table::new();
            for (field, text) in [
                ("name", name),
                ("public_key", &file),
                ("kms_key_id", self.key_id.as_str()),
                ("kms_key_version_id", version.as_str()),
            ] {
                table.insert(field.to_owned(), Value::String(text.to_owned()));
            }
            let pem_path = self.sibling(&file);
            if let Some(other) = existing_fingerprint(&pem_path)?
                && other != key.fingerprint()
            {
                return Err(key_mismatch(version, &pem_path, other, key.fingerprint()));
            }
            self.pems.push((pem_path, pem));
            self.tables.push(table);
            self.changed = true;
            return Ok(KeyChange::New);
        };
        let revoked = table.get("revoked").and_then(Value::as_bool) == Some(true);
        let pem_path = self.sibling(text_field(table, "public_key").unwrap_or_default());
        match existing_fingerprint(&pem_path)? {
            Some(known) if known != key.fingerprint() => {
                return Err(key_mismatch(version, &pem_path, known, key.fingerprint()));
            }
            Some(_) => {}
            None => {
                self.pems.push((pem_path, pem));
                self.changed = true;
            }
        }
        Ok(if revoked {
            KeyChange::RevokedHere
        } else {
            KeyChange::Unchanged
        })
    }

    /// Revokes a version that is no longer enabled.
    pub(super) fn revoke(&mut self, version: &str) -> KeyChange {
        let table = self
            .tables
            .iter_mut()
            .find(|table| text_field(table, "kms_key_version_id") == Some(version));
        match table.map(|table| table.insert("revoked".to_owned(), Value::Boolean(true))) {
            Some(Some(Value::Boolean(true))) | None => KeyChange::RevokedHere,
            Some(_) => {
                self.changed = true;
                KeyChange::Revoked
            }
        }
    }

    /// Writes the changes: the PEM files before the tables that name them, so that a reader never finds a table without its
    /// file.
    pub(super) fn write(self) -> Result<bool, CliError> {
        if !self.changed {
            return Ok(false);
        }
        let unwritable = || CliError::new("could not write the keys", Exit::CouldNotTell);
        for (path, pem) in &self.pems {
            files::write(path, pem.as_bytes()).map_err(|error| unwritable().because(error))?;
        }
        let mut document = Table::new();
        let tables = self.tables.into_iter().map(Value::Table).collect();
        document.insert("key".to_owned(), Value::Array(tables));
        let tables = toml::to_string(&document).map_err(|error| unwritable().because(error))?;
        files::write(&self.path, format!("{HEAD}\n{tables}").as_bytes())
            .map_err(|error| unwritable().because(error))?;
        Ok(true)
    }

    fn table(&self, version: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| text_field(table, "kms_key_version_id") == Some(version))
    }

    fn sibling(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }
}

fn text_field<'a>(table: &'a Table, field: &str) -> Option<&'a str> {
    table.get(field).and_then(Value::as_str)
}

/// Returns the fingerprint of the key in a file, if the file exists.
fn existing_fingerprint(path: &Path) -> Result<Option<Fingerprint>, CliError> {
    if exists(path)? {
        super::read_public_key(path).map(|key| Some(key.fingerprint()))
    } else {
        Ok(None)
    }
}

/// Returns whether a file exists. An error is not taken for absence.
fn exists(path: &Path) -> Result<bool, CliError> {
    path.try_exists().map_err(|error| {
        CliError::new(format!("could not look for `{}`", path.display()), Exit::Usage).because(error)
    })
}

fn key_mismatch(version: &Ocid, path: &Path, here: Fingerprint, there: Fingerprint) -> CliError {
    let message = format!(
        "the public key of `{version}` is {there} in the vault and {here} in `{}`; nothing was written",
        path.display()
    );
    CliError::new(message, Exit::No)
        .hint("the key of a version never changes: find out which one is right before you delete the other")
}

const HEAD: &str =
    "# Maintained by `pullgate key import`, which keeps settings that you add to a table and drops comments.";
