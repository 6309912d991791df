//! The file of `[[key]]` tables that `key import` keeps: read, brought up to date, written.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::base::files;
use crate::base::limits::CONFIG_BYTES;
use crate::net::oracle::Ocid;
use crate::tool::cli::output::{CliError, Exit};
use crate::trust::{Fingerprint, PublicKey};

/// The tables of one key of a vault, one a version.
pub(super) struct KeyFile {
    path: PathBuf,
    key_id: Ocid,
    tables: Vec<Table>,
    /// PEM files that are to be written beside it.
    pems: Vec<(PathBuf, String)>,
    changed: bool,
}

/// What became of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It was not there before.
    New,
    /// It is not in use in the vault any more: its table is marked `revoked = true`, so that rules that name it still
    /// load.
    Revoked,
    /// It is revoked here, and in use in the vault: that is the administrator's word, and stays.
    RevokedHere,
    /// It is as it was.
    Unchanged,
}

impl Change {
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
    /// Reads it, if it is there. A file that holds anything but tables of this key is somebody's own.
    pub(super) fn read(path: PathBuf, key_id: Ocid) -> Result<Self, CliError> {
        let mut file = Self {
            path,
            key_id,
            tables: Vec::new(),
            pems: Vec::new(),
            changed: false,
        };
        if is_there(&file.path)? {
            file.tables = file.read_tables()?;
        }
        Ok(file)
    }

    fn read_tables(&self) -> Result<Vec<Table>, CliError> {
        let foreign = || {
            let message = format!("`{}` is not a file of this key's tables", self.path.display());
            CliError::new(message, Exit::Usage).hint("give another --name or --output")
        };
        let text = files::read_text(&self.path, CONFIG_BYTES).map_err(|error| foreign().because(error))?;
        let mut whole: Table = toml::from_str(&text).map_err(|error| foreign().because(error))?;
        let keys = whole.remove("key");
        let (true, Some(Value::Array(keys))) = (whole.is_empty(), keys) else {
            return Err(foreign());
        };
        let is_ours = |table: &Table| {
            text_of(table, "kms_key_id") == Some(self.key_id.as_str())
                && ["kms_key_version_id", "name", "public_key"]
                    .iter()
                    .all(|field| text_of(table, field).is_some())
        };
        keys.into_iter()
            .map(|key| {
                let table = Table::try_from(key).map_err(|error| foreign().because(error))?;
                if is_ours(&table) {
                    Ok(table)
                } else {
                    Err(foreign())
                }
            })
            .collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The versions that have a table.
    pub(super) fn versions(&self) -> impl Iterator<Item = &str> {
        self.tables
            .iter()
            .filter_map(|table| text_of(table, "kms_key_version_id"))
    }

    /// How rules name a version.
    pub(super) fn name_of(&self, version: &str) -> Option<&str> {
        text_of(self.table(version)?, "name")
    }

    /// Brings in a version that is in use.
    ///
    /// # Errors
    /// When the public half is another than the one that was brought in before: a version's key pair never changes, so
    /// one of the two is not the vault's.
    pub(super) fn put(&mut self, version: &Ocid, name: &str, key: &PublicKey) -> Result<Change, CliError> {
        let unwritable = |error| CliError::new("the key can't be written", Exit::CouldNotTell).because(error);
        let pem = key.to_pem().map_err(unwritable)?;
        let Some(table) = self.table(version.as_str()) else {
            if self
                .tables
                .iter()
                .any(|table| text_of(table, "name") == Some(name))
            {
                let message = format!("the name `{name}` is another version's");
                return Err(CliError::new(message, Exit::Usage)
                    .hint("rename that one's table, or give another --name"));
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
            let pem_path = self.beside(&file);
            if let Some(other) = kept(&pem_path)?
                && other != key.fingerprint()
            {
                return Err(differs(version, &pem_path, other, key.fingerprint()));
            }
            self.pems.push((pem_path, pem));
            self.tables.push(table);
            self.changed = true;
            return Ok(Change::New);
        };
        let revoked = table.get("revoked").and_then(Value::as_bool) == Some(true);
        let pem_path = self.beside(text_of(table, "public_key").unwrap_or_default());
        match kept(&pem_path)? {
            Some(known) if known != key.fingerprint() => {
                return Err(differs(version, &pem_path, known, key.fingerprint()));
            }
            Some(_) => {}
            None => {
                self.pems.push((pem_path, pem));
                self.changed = true;
            }
        }
        Ok(if revoked {
            Change::RevokedHere
        } else {
            Change::Unchanged
        })
    }

    /// Takes a version out that is in use no more.
    pub(super) fn revoke(&mut self, version: &str) -> Change {
        let table = self
            .tables
            .iter_mut()
            .find(|table| text_of(table, "kms_key_version_id") == Some(version));
        match table.map(|table| table.insert("revoked".to_owned(), Value::Boolean(true))) {
            Some(Some(Value::Boolean(true))) | None => Change::RevokedHere,
            Some(_) => {
                self.changed = true;
                Change::Revoked
            }
        }
    }

    /// Writes what changed: the keys before the tables that name them, so that no reader finds a name without its file.
    pub(super) fn write(self) -> Result<bool, CliError> {
        if !self.changed {
            return Ok(false);
        }
        let unwritable = || CliError::new("the keys were not written", Exit::CouldNotTell);
        for (path, pem) in &self.pems {
            files::write(path, pem.as_bytes()).map_err(|error| unwritable().because(error))?;
        }
        let mut whole = Table::new();
        let tables = self.tables.into_iter().map(Value::Table).collect();
        whole.insert("key".to_owned(), Value::Array(tables));
        let tables = toml::to_string(&whole).map_err(|error| unwritable().because(error))?;
        files::write(&self.path, format!("{HEAD}\n{tables}").as_bytes())
            .map_err(|error| unwritable().because(error))?;
        Ok(true)
    }

    fn table(&self, version: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| text_of(table, "kms_key_version_id") == Some(version))
    }

    fn beside(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }
}

fn text_of<'a>(table: &'a Table, field: &str) -> Option<&'a str> {
    table.get(field).and_then(Value::as_str)
}

/// The key of a file that is there.
fn kept(path: &Path) -> Result<Option<Fingerprint>, CliError> {
    if is_there(path)? {
        super::read(path).map(|key| Some(key.fingerprint()))
    } else {
        Ok(None)
    }
}

/// What cannot be looked at is not absent.
fn is_there(path: &Path) -> Result<bool, CliError> {
    path.try_exists().map_err(|error| {
        CliError::new(format!("`{}` can't be looked at", path.display()), Exit::Usage).because(error)
    })
}

fn differs(version: &Ocid, path: &Path, here: Fingerprint, there: Fingerprint) -> CliError {
    let message = format!(
        "the public half of `{version}` is {there} in the vault and {here} in `{}`: nothing was written",
        path.display()
    );
    CliError::new(message, Exit::No)
        .hint("a version's key never changes: find out which one is right before you delete the other")
}

const HEAD: &str =
    "# Kept by `pullgate key import`: what is added to a table by hand stays, comments do not.";
