//! `[[key]]`: public keys by the names that rules use.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;

use crate::base::error_chain::chain;
use crate::base::files;
use crate::base::limits::KEY_BYTES;
use crate::base::strict_toml::problem::{Report, Reported, SourceSpan};
use crate::base::strict_toml::table::{Table, Text};
use crate::signature::check_key_kind;
use crate::signature::oracle::{KMS_KEY_ID, KMS_KEY_VERSION_ID};
use crate::trust::{Authority, KeyError, PublicKey, Salt, SigningAlgorithm, TrustedKey, Validity};

/// The longest name of a key. Journal lines and tables on terminals show it.
const NAME: usize = 64;

/// Every `[[key]]` by its name.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_name: BTreeMap<String, KeyEntry>,
}

#[derive(Debug)]
struct KeyEntry {
    span: SourceSpan,
    /// A key that did not load is still known by its name, so that its rules report no second problem.
    key: Result<Arc<Authority>, Reported>,
}

impl Keys {
    /// Reads one `[[key]]`.
    pub(super) fn add(&mut self, mut table: Table<'_>) {
        let name = table
            .required_text("name", "\"release\"")
            .and_then(|name| check_name(name, table.report()));
        let report = table.report();
        let key = read(&mut table, name.map_or("", |name| name.text));
        let key = key.map(|key| Arc::new(Authority::from(key)));
        table.finish();
        let Ok(name) = name else { return };
        if let Some(first) = self.by_name.get(name.text) {
            let hint = Some("give each key a name of its own: rules refer to keys by name".to_owned());
            report.duplicate(
                name.span,
                first.span,
                format!("two keys have the name `{}`", name.text),
                hint,
            );
            return;
        }
        self.by_name
            .insert(name.text.to_owned(), KeyEntry { span: name.span, key });
    }

    /// Revokes every key that has the public key of a revoked one under another name. An administrator who revokes a leaked
    /// key must not have to find every copy of it.
    pub(super) fn spread_revocation(&mut self) {
        let revoked: BTreeSet<_> = self
            .loaded()
            .filter(|(key, _)| key.validity.revoked)
            .map(|(key, _)| key.signer_id())
            .collect();
        for entry in self.by_name.values_mut() {
            let Ok(authority) = &mut entry.key else { continue };
            let Authority::Key(key) = Arc::make_mut(authority);
            if revoked.contains(&key.signer_id()) {
                key.validity.revoked = true;
            }
        }
    }

    /// Returns the key of this name, or `None` where no `[[key]]` has the name.
    pub(super) fn get(&self, name: &str) -> Option<Result<Arc<Authority>, Reported>> {
        self.by_name.get(name).map(|entry| entry.key.clone())
    }

    /// Returns all names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// Every key that loaded, by name, and its position in the file.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (&TrustedKey, SourceSpan)> {
        self.by_name
            .values()
            .filter_map(|entry| match entry.key.as_deref() {
                Ok(Authority::Key(key)) => Some((key, entry.span)),
                Err(Reported { .. }) => None,
            })
    }

    /// Every key that loaded, by name, as rules refer to it.
    pub(super) fn authorities(&self) -> Vec<Arc<Authority>> {
        let loaded = self.by_name.values().filter_map(|entry| entry.key.as_ref().ok());
        loaded.map(Arc::clone).collect()
    }
}

fn check_name<'d>(name: Text<'d>, report: &Report) -> Result<Text<'d>, Reported> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.text.len() <= NAME && name.text.bytes().all(plain) {
        return Ok(name);
    }
    let hint = Some(format!("use at most {NAME} letters, digits, `.`, `_` and `-`"));
    Err(report.problem(
        name.span,
        format!("`{}` is not a name for a key", name.text.escape_debug()),
        hint,
    ))
}

fn read(table: &mut Table<'_>, name: &str) -> Result<TrustedKey, Reported> {
    let public_key = public_key(table);
    let algorithms = algorithms(table);
    let salt = salt(table);
    let kms_key_id = ocid(table, KMS_KEY_ID, "ocid1.key.");
    let kms_key_version_id = ocid(table, KMS_KEY_VERSION_ID, "ocid1.keyversion.");
    let window = window(table);
    let revoked = table.boolean("revoked");
    let (not_before, not_after) = window?;
    let salt = salt?;
    let ids = [
        (KMS_KEY_ID, kms_key_id?),
        (KMS_KEY_VERSION_ID, kms_key_version_id?),
    ];
    Ok(TrustedKey {
        name: name.into(),
        public_key: public_key?,
        schemes: algorithms?
            .into_iter()
            .map(|algorithm| algorithm.scheme(salt))
            .collect(),
        ids: ids
            .into_iter()
            .filter_map(|(setting, id)| id.map(|id| (setting, id)))
            .collect(),
        validity: Validity {
            not_before,
            not_after,
            revoked: revoked?.unwrap_or(false),
        },
    })
}

fn public_key(table: &mut Table<'_>) -> Result<PublicKey, Reported> {
    let text = table.required_text("public_key", "\"keys/release.pem\"")?;
    let report = table.report();
    if text.text.contains("-----BEGIN") {
        let hint = Some("write the PEM to a file, and set `public_key` to its path".to_owned());
        return Err(report.problem(text.span, "`public_key` must be the path of a PEM file", hint));
    }
    let path = table.path(text.text);
    let pem = files::read(&path, KEY_BYTES)
        .map_err(|error| report.problem(text.span, error.to_string(), error.hint()))?;
    let refused = |error: &(dyn Error + 'static), hint: Option<&str>| {
        let message = format!("`{}`: {}", path.display(), chain(error));
        report.problem(text.span, message, hint.map(str::to_owned))
    };
    let hint = "give the PEM file of an RSA public key, or of a certificate of one";
    let key = PublicKey::from_pem(&pem).map_err(|error| {
        // The messages of these two say what to do.
        let is_complete = matches!(error, KeyError::PrivateKey { .. } | KeyError::Symmetric);
        refused(&error, (!is_complete).then_some(hint))
    })?;
    check_key_kind(&key).map_err(|error| refused(&error, Some(hint)))?;
    Ok(key)
}

fn algorithms(table: &mut Table<'_>) -> Result<BTreeSet<SigningAlgorithm>, Reported> {
    let report = table.report();
    let read = |text: Text<'_>| {
        text.choice(
            "algorithms",
            &SigningAlgorithm::ALL,
            SigningAlgorithm::as_str,
            report,
        )
    };
    let algorithms = table.each("algorithms", read)?;
    Ok(algorithms.map_or_else(|| SigningAlgorithm::ALL.into(), BTreeSet::from_iter))
}

fn salt(table: &mut Table<'_>) -> Result<Salt, Reported> {
    let Some(text) = table.text("salt")? else {
        return Ok(Salt::Any);
    };
    text.choice("salt", &Salt::ALL, Salt::as_str, table.report())
}

/// An identifier of OCI Vault (docs.oracle.com, "Resource Identifiers": `ocid1.<type>.<realm>.<region>.<id>`).
fn ocid(table: &mut Table<'_>, key: &'static str, prefix: &str) -> Result<Option<String>, Reported> {
    let Some(text) = table.text(key)? else {
        return Ok(None);
    };
    if text
        .text
        .chars()
        .any(|character| character.is_whitespace() || character.is_control())
    {
        let hint = Some("copy it from the OCI console".to_owned());
        return Err(table.report().problem(
            text.span,
            format!("`{key}` contains a space or a control character"),
            hint,
        ));
    }
    if !text.text.starts_with(prefix) {
        // Records contain both identifiers, and an administrator may paste one for the other; then no signature matches.
        let hint = Some(format!("identifiers of this kind begin with `{prefix}`"));
        table.report().warning(
            text.span,
            format!(
                "`{key}` does not look like the OCID of a {}",
                if key == "kms_key_id" {
                    "key in OCI Vault"
                } else {
                    "key version in OCI Vault"
                }
            ),
            hint,
        );
    }
    Ok(Some(text.text.to_owned()))
}

fn window(table: &mut Table<'_>) -> Result<(Option<Timestamp>, Option<Timestamp>), Reported> {
    let not_before = table.instant("not_before");
    let not_after = table.instant("not_after");
    let (not_before, not_after) = (not_before?, not_after?);
    if let (Some((begin, _)), Some((end, at))) = (not_before, not_after)
        && end <= begin
    {
        let hint = Some(format!("choose an instant later than {begin}"));
        return Err(table
            .report()
            .problem(at, "`not_after` is not after `not_before`", hint));
    }
    Ok((
        not_before.map(|(instant, _)| instant),
        not_after.map(|(instant, _)| instant),
    ))
}
