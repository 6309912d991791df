//! Warnings about a configuration that loads: shown by `pullgate config check`, and written to the journal by the daemon.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::keys::Keys;
use super::rules::Rules;
use crate::base::strict_toml::problem::Report;
use crate::pull::policy::Requirement;
use crate::trust::Authority;

/// The time before the end of a key's validity at which a warning begins.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Warns about keys and rules that will not work as they are written, as of `now`.
pub(super) fn warn_of_unusable(keys: &Keys, rules: &Rules, now: Timestamp, report: &Report) {
    let mut used = BTreeSet::new();
    for (rule, at) in rules.iter() {
        let Requirement::Signed(signed) = &rule.requirement else {
            continue;
        };
        used.extend(
            signed
                .authorities
                .iter()
                .map(|authority| authority.facts().name()),
        );
        let usable: BTreeSet<_> = signed
            .authorities
            .iter()
            .filter(|authority| authority.facts().validity().check(now).is_ok())
            .map(|authority| match authority.as_ref() {
                Authority::Key(key) => key.signer_id(),
            })
            .collect();
        if usable.len() < signed.threshold.get() {
            let message = match signed.threshold.get() {
                1 => "no image can satisfy this rule: all its keys are expired, revoked or not yet valid"
                    .to_owned(),
                threshold => format!(
                    "no image can satisfy this rule: it requires {threshold} keys, and {} can be used now",
                    usable.len()
                ),
            };
            report.warning(at, message, Some("add the key that signs images now".to_owned()));
        }
    }
    let mut seen = BTreeMap::new();
    for (key, at) in keys.loaded() {
        if !used.contains(&*key.name) {
            report.warning(
                at,
                format!("the key `{}` is not used by any rule", key.name),
                None,
            );
        }
        if let Some(other) = seen.insert(key.signer_id(), &key.name) {
            let hint = Some("a `threshold` counts them as one key".to_owned());
            report.warning(
                at,
                format!("`{}` and `{other}` are the same public key", key.name),
                hint,
            );
        }
        match (key.validity.check(now), key.validity.not_after) {
            (Err(why), _) => {
                report.warning(at, format!("the key `{}` cannot be used: {why}", key.name), None)
            }
            (Ok(()), Some(end)) if end.duration_since(now) < SOON => {
                let hint = Some("add its successor to the rules before then".to_owned());
                report.warning(at, format!("the key `{}` expires at {end}", key.name), hint);
            }
            (Ok(()), _) => {}
        }
    }
}
