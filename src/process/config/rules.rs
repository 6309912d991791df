//! `[[rule]]` and `[deny]`: the requirements of each scope.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::keys::Keys;
use crate::base::strict_toml::problem::{Report, Reported, SourceSpan};
use crate::base::strict_toml::suggest::{nearest, quoted_list};
use crate::base::strict_toml::table::{Table, Text};
use crate::oci::{Digest, Repository};
use crate::pull::policy::{Mode, Pods, Requirement, Rule, Scope, ScopeError, Signed, SignedRepository};
use crate::signature::FormatName;
use crate::trust::Authority;

/// The largest `threshold` that is accepted.
const THRESHOLD: usize = 1024;

/// Every rule, with the place of its scope.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<(Rule, SourceSpan)>,
    /// The place of each scope, by scope, namespace and labels.
    scopes: BTreeMap<(String, String, Labels), SourceSpan>,
}

/// The values of `require`.
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
    /// Reads one `[[rule]]`. `every_key` says whether all files could be read, so that a name that is not in `keys` is an
    /// unknown name.
    pub(super) fn add(&mut self, mut table: Table<'_>, keys: &Keys, every_key: bool) {
        let report = table.report();
        let text = table.required_text("scope", "\"registry.example/project/**\"");
        let scope = text.and_then(|text| scope(text, report).map(|scope| (scope, text.span)));
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
        // An empty list means all namespaces.
        let all = std::iter::once("").filter(|_| namespaces.is_empty());
        for namespace in namespaces.iter().map(String::as_str).chain(all) {
            let place = (scope.as_str().to_owned(), namespace.to_owned(), labels.clone());
            if let Some(first) = self.scopes.get(&place) {
                let hint = Some("merge the two rules, or remove one: a scope has one rule".to_owned());
                let of = match (namespace, labels.is_empty()) {
                    ("", true) => String::new(),
                    ("", false) => " for the same labels".to_owned(),
                    (namespace, true) => format!(" for the namespace `{namespace}`"),
                    (namespace, false) => format!(" for the same labels in the namespace `{namespace}`"),
                };
                report.duplicate(at, *first, format!("the scope `{scope}` has two rules{of}"), hint);
                return;
            }
            self.scopes.insert(place, at);
        }
        if let Ok((requirement, mode)) = rule {
            let pods = Pods { namespaces, labels };
            self.rules.push((Rule::new(scope, requirement, mode, pods), at));
        }
    }

    /// Returns each rule with the place of its scope.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Rule, SourceSpan)> {
        self.rules.iter().map(|(rule, at)| (rule, *at))
    }

    /// Returns the rules, each with the place of its scope.
    pub(super) fn into_rules(self) -> impl Iterator<Item = (Rule, SourceSpan)> {
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
                "write `docker.io/{0}`, or put the host of another registry in front",
                text.text.escape_debug()
            )),
            ScopeError::NotARepository => Some(
                "remove the tag or digest; to allow certain digests, use `require = \"digest\"`".to_owned(),
            ),
            ScopeError::NoPath { whole } => Some(format!("write `scope = \"{whole}\"`, or append a path")),
            ScopeError::Wildcard => {
                Some("write `registry.example/project/**`, or `registry.example/*/name`".to_owned())
            }
            ScopeError::Part(_) | ScopeError::TooLong => {
                Some("write it as in image names: lower-case letters, digits and separators".to_owned())
            }
        };
        report.problem(
            text.span,
            format!("`{}`: {error}", text.text.escape_debug()),
            hint,
        )
    })
}

/// Reads names of Kubernetes namespaces, which are DNS labels (RFC 1123, section 2.1).
fn namespaces(table: &mut Table<'_>) -> Result<BTreeSet<String>, Reported> {
    let report = table.report();
    let read = table.each("namespaces", |text| {
        let name = text.text;
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edges = !name.starts_with('-') && !name.ends_with('-');
        if (1..=63).contains(&name.len()) && name.bytes().all(inner) && edges {
            return Ok(name.to_owned());
        }
        let hint = Some(
            "write one name that `kubectl get namespaces` shows; wildcards are not supported".to_owned(),
        );
        let message = format!("`{}` is not the name of a namespace", name.escape_debug());
        Err(report.problem(text.span, message, hint))
    })?;
    Ok(read.unwrap_or_default().into_iter().collect())
}

type Labels = BTreeMap<String, String>;

/// Reads `name=value` labels in the syntax of `kubectl get pods -l` (apimachinery, `validation.IsQualifiedName`, `IsValidLabelValue`).
fn labels(table: &mut Table<'_>) -> Result<Labels, Reported> {
    let report = table.report();
    let read = table.each("labels", |text| {
        let label = text.text.split_once('=');
        let label = label.filter(|(name, value)| is_label_name(name) && is_label_value(value));
        label
            .map(|(name, value)| (name.to_owned(), (value.to_owned(), text.span)))
            .ok_or_else(|| {
                let hint = Some("write name and value as for `kubectl get pods -l`: \"tier=web\"".to_owned());
                let message = format!("`{}` is not a label with a value", text.text.escape_debug());
                report.problem(text.span, message, hint)
            })
    })?;
    let mut labels = Labels::new();
    for (name, (value, at)) in read.unwrap_or_default() {
        if labels.get(&name).is_some_and(|other| *other != value) {
            let hint = Some("write a rule for each value".to_owned());
            return Err(report.problem(
                at,
                format!("a pod cannot have two values of the label `{name}`"),
                hint,
            ));
        }
        labels.insert(name, value);
    }
    Ok(labels)
}

/// Whether this is the name of a label: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends;
/// optionally preceded by a DNS name and `/`.
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
            // The meaning of the other keys depends on it.
            table.accept_unread(&[
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
                "is allowed only with `require = \"signed\"`",
                "set `require = \"signed\"`, or remove it",
            );
        }
    }
    if !matches!(require, Require::Digest) {
        table.refuse(
            "digests",
            "is allowed only with `require = \"digest\"`",
            "set `require = \"digest\"`, or remove it",
        );
    }
    if matches!(require, Require::InsecureAcceptAnything) {
        table.refuse(
            "mode",
            "has no effect in a rule that accepts anything",
            "remove it",
        );
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
    let hint = "write `sha256:` followed by 64 lower-case hexadecimal digits";
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
                // A long list would not help.
                None if known.len() > 12 => "use the `name` of a `[[key]]`".to_owned(),
                None => format!("use {}", quoted_list(&known, "or")),
            };
            let message = format!("no `[[key]]` has the name `{}`", name.text.escape_debug());
            Err(report.problem(name.span, message, Some(hint)))
        }
        // It may be in the file that could not be read.
        None => Err(report.already_reported()),
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
                "`threshold` is greater than the number of distinct keys, {}",
                distinct.len()
            );
            let hint = if distinct.len() < authorities.len() {
                "name another key: two names of one public key count as one"
            } else {
                "lower it, or add keys to the rule"
            };
            return Err(table.report().problem(at, message, Some(hint.to_owned())));
        }
    }
    // The bounds above exclude 0.
    Ok(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN))
}

/// The formats that the rule accepts. They have no default: a release with another format must not widen a rule that was
/// written before.
fn formats(table: &mut Table<'_>) -> Result<BTreeSet<FormatName>, Reported> {
    let report = table.report();
    let all = FormatName::all();
    let read = |text: Text<'_>| text.choice("formats", &all, FormatName::as_str, report);
    let formats = table.each("formats", read)?;
    formats.map(BTreeSet::from_iter).ok_or_else(|| {
        report.outdated(
            table.value_span("require"),
            "`formats` is missing in a rule with `require = \"signed\"`",
            "write `formats = [\"oracle\"]`",
        )
    })
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
        let message =
            "`**` repeats the part that `**` of the scope matched, but the scope does not end with `**`";
        let hint = Some("end `scope` with `/**` too, or name one repository".to_owned());
        return Err(report.problem(text.span, message, hint));
    }
    if text.text != "**" {
        check_path(prefix.unwrap_or(text.text), text.span, report)?;
    }
    Ok(Some(prefix.map_or_else(
        || SignedRepository::Exact(text.text.to_owned()),
        |prefix| SignedRepository::Prefix(prefix.to_owned()),
    )))
}

/// Checks a repository as signers write it: the path without a host.
fn check_path(path: &str, at: SourceSpan, report: &Report) -> Result<(), Reported> {
    // A path is parsed together with a host; any host serves.
    Repository::new("registry.example", path)
        .map(|_| ())
        .map_err(|error| {
            let hint =
                Some("write the repository without the registry's host, as signatures contain it".to_owned());
            report.problem(at, error.to_string(), hint)
        })
}
