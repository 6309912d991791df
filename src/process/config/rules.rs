//! `[[rule]]` and `[deny]`: what each scope requires.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::keys::Keys;
use crate::base::strict_toml::problem::{At, Report, Reported};
use crate::base::strict_toml::suggest::{list, nearest};
use crate::base::strict_toml::table::Table;
use crate::base::strict_toml::value::Text;
use crate::oci::{Digest, Repository};
use crate::pull::policy::{Mode, Pods, Requirement, Rule, Scope, ScopeError, Signed, SignedRepository};
use crate::signature::FormatName;
use crate::trust::Authority;

/// Largest `threshold` that can be meant.
const THRESHOLD: usize = 1024;

/// Every rule, and where it stands.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<(Rule, At)>,
    /// By scope, namespace and labels.
    scopes: BTreeMap<(String, String, Labels), At>,
}

/// The words of `require`.
#[derive(Clone, Copy)]
enum Require {
    Digest,
    InsecureAcceptAnything,
    Reject,
    Signed,
}

impl Require {
    const ALL: [Self; 4] = [
        Self::Signed,
        Self::Digest,
        Self::Reject,
        Self::InsecureAcceptAnything,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::InsecureAcceptAnything => "insecure-accept-anything",
            Self::Reject => "reject",
            Self::Signed => "signed",
        }
    }
}

impl Rules {
    /// Reads one `[[rule]]`. `every_key`: whether all files could be read, so that a name not among `keys` is unknown.
    pub(super) fn add(&mut self, mut table: Table<'_>, keys: &Keys, every_key: bool) {
        let report = table.report();
        let text = table.required_text("scope", "\"registry.example/project/**\"");
        let scope = text.and_then(|text| scope(text, report).map(|scope| (scope, text.at)));
        let (namespaces, labels) = (namespaces(&mut table), labels(&mut table));
        let rule = read(
            &mut table,
            scope.as_ref().ok().map(|(scope, _)| scope),
            keys,
            every_key,
        );
        table.finish();
        let (Ok((scope, at)), Ok(namespaces), Ok(labels)) = (scope, namespaces, labels) else {
            return;
        };
        // Empty stands for all of them.
        let all = std::iter::once("").filter(|_| namespaces.is_empty());
        for namespace in namespaces.iter().map(String::as_str).chain(all) {
            let place = (scope.as_str().to_owned(), namespace.to_owned(), labels.clone());
            if let Some(first) = self.scopes.get(&place) {
                let hint = Some("one rule speaks for a scope: put them together, or take one out".to_owned());
                let of = match (namespace, labels.is_empty()) {
                    ("", true) => String::new(),
                    ("", false) => " for the same labels".to_owned(),
                    (namespace, true) => format!(" for the namespace `{namespace}`"),
                    (namespace, false) => format!(" for the same labels in the namespace `{namespace}`"),
                };
                report.twice(at, *first, format!("the scope `{scope}` has two rules{of}"), hint);
                return;
            }
            self.scopes.insert(place, at);
        }
        if let Ok((requirement, mode)) = rule {
            let pods = Pods { namespaces, labels };
            self.rules.push((Rule::new(scope, requirement, mode, pods), at));
        }
    }

    /// Each rule, and where its scope stands.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Rule, At)> {
        self.rules.iter().map(|(rule, at)| (rule, *at))
    }

    /// The rules alone.
    pub(super) fn into_rules(self) -> impl Iterator<Item = (Rule, At)> {
        self.rules.into_iter()
    }
}

/// Reads `[deny]`.
pub(super) fn deny(mut table: Table<'_>, denied: &mut BTreeSet<Digest>) {
    if let Ok(digests) = digests(&mut table) {
        denied.extend(digests);
    }
    table.finish();
}

fn scope(text: Text<'_>, report: &Report) -> Result<Scope, Reported> {
    text.text.parse::<Scope>().map_err(|error| {
        let hint = match &error {
            ScopeError::NotNormalised { normalised } => Some(format!("write `scope = \"{normalised}\"`")),
            ScopeError::NoHost => Some(format!(
                "write `docker.io/{0}`, or another registry's host before it",
                text.text.escape_debug()
            )),
            ScopeError::NotARepository => {
                Some("take the tag or digest out; `require = \"digest\"` names digests".to_owned())
            }
            ScopeError::NoPath { whole } => {
                Some(format!("write `scope = \"{whole}\"`, or go on with a path"))
            }
            ScopeError::Wildcard => {
                Some("write `registry.example/project/**`, or `registry.example/*/name`".to_owned())
            }
            ScopeError::Part(_) | ScopeError::TooLong => Some("write it as images are named".to_owned()),
        };
        report.problem(text.at, format!("`{}`: {error}", text.text.escape_debug()), hint)
    })
}

/// Names of Kubernetes namespaces: labels of DNS (RFC 1123, section 2.1).
fn namespaces(table: &mut Table<'_>) -> Result<BTreeSet<String>, Reported> {
    let report = table.report();
    let read = table.each("namespaces", |text| {
        let name = text.text;
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edges = !name.starts_with('-') && !name.ends_with('-');
        if (1..=63).contains(&name.len()) && name.bytes().all(inner) && edges {
            return Ok(name.to_owned());
        }
        let hint = Some("name it as `kubectl get namespaces` does; there are no wildcards".to_owned());
        let message = format!("`{}` is not the name of a namespace", name.escape_debug());
        Err(report.problem(text.at, message, hint))
    })?;
    Ok(read.unwrap_or_default().into_iter().collect())
}

type Labels = BTreeMap<String, String>;

/// `name=value`, as `kubectl get pods -l` takes them (apimachinery, `validation.IsQualifiedName`, `IsValidLabelValue`).
fn labels(table: &mut Table<'_>) -> Result<Labels, Reported> {
    let report = table.report();
    let read = table.each("labels", |text| {
        let label = text.text.split_once('=');
        let label = label.filter(|(name, value)| is_label_name(name) && is_label_value(value));
        label
            .map(|(name, value)| (name.to_owned(), (value.to_owned(), text.at)))
            .ok_or_else(|| {
                let hint = Some("write it as `kubectl get pods -l` takes it: \"tier=web\"".to_owned());
                let message = format!("`{}` is not a label and its value", text.text.escape_debug());
                report.problem(text.at, message, hint)
            })
    })?;
    let mut labels = Labels::new();
    for (name, (value, at)) in read.unwrap_or_default() {
        if labels.get(&name).is_some_and(|other| *other != value) {
            let hint = Some("a label has one value: make a rule for each".to_owned());
            return Err(report.problem(at, format!("no pod has two values of `{name}`"), hint));
        }
        labels.insert(name, value);
    }
    Ok(labels)
}

/// Letters, digits, `-`, `_` and `.`, at most 63, and neither begins nor ends with a sign; a host and `/` may go before it.
fn is_label_name(name: &str) -> bool {
    let (host, name) = match name.split_once('/') {
        Some((host, name)) => (Some(host), name),
        None => (None, name),
    };
    let is_host = |host: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        };
        host.len() <= 253 && host.split('.').all(is_part)
    };
    host.is_none_or(is_host) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && bytes.iter().all(inner) && is_end(bytes.first()) && is_end(bytes.last())
}

fn read(
    table: &mut Table<'_>,
    scope: Option<&Scope>,
    keys: &Keys,
    every_key: bool,
) -> Result<(Requirement, Mode), Reported> {
    let report = table.report();
    let require = table
        .required_text("require", "\"signed\"")
        .and_then(|text| text.choice("require", &Require::ALL, Require::as_str, report));
    let require = match require {
        Ok(require) => require,
        Err(reported) => {
            // What the other keys should be hangs on it.
            table.allow(&[
                "keys",
                "threshold",
                "formats",
                "signed_repository",
                "digests",
                "mode",
            ]);
            return Err(reported);
        }
    };
    if !matches!(require, Require::Signed) {
        for key in ["keys", "threshold", "formats", "signed_repository"] {
            table.refuse(
                key,
                "belongs to a rule that is `signed`",
                "set `require = \"signed\"`, or take it out",
            );
        }
    }
    if !matches!(require, Require::Digest) {
        table.refuse(
            "digests",
            "belongs to a rule that is `digest`",
            "set `require = \"digest\"`, or take it out",
        );
    }
    if matches!(require, Require::InsecureAcceptAnything) {
        table.refuse("mode", "says nothing where anything goes", "take it out");
        return Ok((Requirement::InsecureAcceptAnything, Mode::Enforce));
    }
    let mode = mode(table);
    let requirement = match require {
        Require::Digest => digests(table).map(Requirement::Digest),
        Require::InsecureAcceptAnything => Ok(Requirement::InsecureAcceptAnything),
        Require::Reject => Ok(Requirement::Reject),
        Require::Signed => signed(table, scope, keys, every_key).map(Requirement::Signed),
    };
    Ok((requirement?, mode?))
}

fn mode(table: &mut Table<'_>) -> Result<Mode, Reported> {
    let Some(text) = table.text("mode")? else {
        return Ok(Mode::Enforce);
    };
    text.choice("mode", &Mode::ALL, Mode::as_str, table.report())
}

fn digests(table: &mut Table<'_>) -> Result<BTreeSet<Digest>, Reported> {
    let report = table.report();
    let hint = "write it as a registry shows it: `sha256:` and 64 digits and letters";
    match table.each("digests", |text| text.parse::<Digest>(hint, report))? {
        Some(digests) => Ok(digests.into_iter().collect()),
        None => Err(table.missing("digests", "[\"sha256:…\"]")),
    }
}

fn signed(
    table: &mut Table<'_>,
    scope: Option<&Scope>,
    keys: &Keys,
    every_key: bool,
) -> Result<Signed, Reported> {
    let chosen = chosen_keys(table, keys, every_key);
    let threshold = threshold(table, chosen.as_deref().ok());
    let formats = formats(table);
    let signed_repository = signed_repository(table, scope);
    Ok(Signed {
        authorities: chosen?,
        threshold: threshold?,
        formats: formats?,
        signed_repository: signed_repository?,
    })
}

fn chosen_keys(table: &mut Table<'_>, keys: &Keys, every_key: bool) -> Result<Vec<Arc<Authority>>, Reported> {
    let report = table.report();
    let chosen = table.each("keys", |name| match keys.get(name.text) {
        Some(key) => key,
        None if every_key => {
            let known = keys.names();
            let hint = match nearest(name.text, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => {
                    format!("add a `[[key]]` with `name = \"{}\"`", name.text.escape_debug())
                }
                // A long list helps nobody.
                None if known.len() > 12 => "no `[[key]]` has this name".to_owned(),
                None => format!("there is {}", list(&known)),
            };
            let message = format!("no key has the name `{}`", name.text.escape_debug());
            Err(report.problem(name.at, message, Some(hint)))
        }
        // It may stand in the file that could not be read.
        None => Err(report.again()),
    })?;
    chosen.ok_or_else(|| table.missing("keys", "[\"release\"]"))
}

/// How many distinct signers must have signed; `authorities` where all of them loaded.
fn threshold(
    table: &mut Table<'_>,
    authorities: Option<&[Arc<Authority>]>,
) -> Result<NonZeroUsize, Reported> {
    let Some((count, at)) = table.count("threshold", 1..=THRESHOLD)? else {
        return Ok(NonZeroUsize::MIN);
    };
    if let Some(authorities) = authorities {
        let distinct: BTreeSet<_> = authorities
            .iter()
            .map(|authority| match authority.as_ref() {
                Authority::Key(key) => key.signer_id(),
            })
            .collect();
        if count > distinct.len() {
            let message = format!(
                "`threshold` is above the number of distinct keys, {}",
                distinct.len()
            );
            let hint = if distinct.len() < authorities.len() {
                "two names of one public key count as one"
            } else {
                "lower it, or name more keys"
            };
            return Err(table.report().problem(at, message, Some(hint.to_owned())));
        }
    }
    // `count` is at least 1: its bounds say so.
    Ok(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN))
}

fn formats(table: &mut Table<'_>) -> Result<BTreeSet<FormatName>, Reported> {
    let report = table.report();
    let all = FormatName::all();
    let read = |text: Text<'_>| text.choice("formats", &all, FormatName::as_str, report);
    Ok(table
        .each("formats", read)?
        .map_or_else(|| BTreeSet::from_iter(all.iter().copied()), BTreeSet::from_iter))
}

fn signed_repository(
    table: &mut Table<'_>,
    scope: Option<&Scope>,
) -> Result<Option<SignedRepository>, Reported> {
    let Some(text) = table.text("signed_repository")? else {
        return Ok(None);
    };
    let report = table.report();
    let prefix = if text.text == "**" {
        Some("")
    } else {
        text.text.strip_suffix("/**")
    };
    if prefix.is_some() && scope.is_some_and(|scope| !scope.as_str().ends_with("/**")) {
        let message = "`**` stands for what the `**` of the scope matched, and there is none";
        let hint = Some("end the rule's `scope` with `/**` too, or name one repository".to_owned());
        return Err(report.problem(text.at, message, hint));
    }
    if text.text != "**" {
        check_path(prefix.unwrap_or(text.text), text.at, report)?;
    }
    Ok(Some(prefix.map_or_else(
        || SignedRepository::Exact(text.text.to_owned()),
        |prefix| SignedRepository::Prefix(prefix.to_owned()),
    )))
}

/// A repository as signers write it: its path alone.
fn check_path(path: &str, at: At, report: &Report) -> Result<(), Reported> {
    // The host is there to read the path by.
    Repository::new("registry.example", path)
        .map(|_| ())
        .map_err(|error| {
            let hint = Some("name it as the signature does: without the registry's host".to_owned());
            report.problem(at, error.to_string(), hint)
        })
}
