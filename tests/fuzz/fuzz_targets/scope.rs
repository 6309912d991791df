//! A scope, and after a line break a name: the rule speaks for exactly the names that the definition says.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use pullgate::oci::Repository;
use pullgate::pull::policy::DefaultAction;
use pullgate::pull::policy::Generation;
use pullgate::pull::policy::Mode;
use pullgate::pull::policy::Pods;
use pullgate::pull::policy::Policy;
use pullgate::pull::policy::Requirement;
use pullgate::pull::policy::Rule;
use pullgate::pull::policy::EffectiveRule;
use pullgate::pull::policy::Scope;
use pullgate::pull::policy::ScopeError;

fuzz_target!(|text: &str| {
    let (text, name) = text.split_once('\n').unwrap_or((text, text));
    let scope = match text.parse::<Scope>() {
        Ok(scope) => scope,
        // A suggestion leads to a scope at once.
        Err(ScopeError::NotNormalised { normalised }) => normalised.parse().expect("the right spelling"),
        Err(ScopeError::NoPath { whole }) => whole.parse().expect("the whole registry"),
        Err(_) => return,
    };
    assert_eq!(scope.as_str().parse::<Scope>().as_ref(), Ok(&scope));
    let Ok(name) = name.parse::<Repository>() else {
        return;
    };
    let matches = matches(scope.as_str(), &name.to_string());
    let rule = Rule::new(scope, Requirement::Reject, Mode::Enforce, Pods::default());
    let policy = Policy::new(
        DefaultAction::Reject,
        vec![rule],
        BTreeSet::new(),
        Vec::new(),
        Generation([0; 32]),
    );
    let ruling = policy.expect("one rule has no duplicate").effective_rule(&name, None);
    assert_eq!(matches!(ruling, EffectiveRule::Rule(_)), matches);
});

/// By the texts alone.
fn matches(scope: &str, name: &str) -> bool {
    let (scope_host, scope_path) = scope.split_once('/').expect("a scope has a path");
    let (host, path) = name.split_once('/').expect("a name has a path");
    let host_matches = match scope_host.strip_prefix("*.") {
        Some(below) => host.split_once('.').is_some_and(|(_, rest)| rest == below),
        None => host == scope_host,
    };
    let mut parts = path.split('/');
    for wanted in scope_path.split('/') {
        match (wanted, parts.next()) {
            ("**", _) => return host_matches,
            ("*", Some(_)) => {}
            (wanted, Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
    host_matches && parts.next().is_none()
}
