use std::collections::BTreeSet;

use super::{
    DefaultAction, DuplicateScope, EffectiveRule, Generation, Mode, Pod, Pods, Policy, Requirement, Rule,
    SignedRepository,
};
use crate::oci::{Digest, Repository};

fn rule(scope: &str, requirement: Requirement, mode: Mode) -> Rule {
    Rule::new(scope.parse().unwrap(), requirement, mode, Pods::default())
}

fn policy(default: DefaultAction, rules: Vec<Rule>, denied: &[Digest]) -> Result<Policy, DuplicateScope> {
    let denied: BTreeSet<Digest> = denied.iter().copied().collect();
    Policy::new(default, rules, denied, Vec::new(), Generation([0xab; 32]))
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

#[test]
fn the_default_applies_where_no_rule_does() {
    for default in DefaultAction::ALL {
        let accepting = rule("r.example/**", Requirement::InsecureAcceptAnything, Mode::Enforce);
        let policy = policy(default, vec![accepting], &[]).unwrap();
        assert_eq!(policy.default_action(), default);
        let effective = policy.effective_rule(&repository("elsewhere.example/app"), None);
        assert!(
            matches!(effective, EffectiveRule::Default(action) if action == default),
            "{effective:?}"
        );
        assert_eq!(effective.name(), "default");
        let effective = policy.effective_rule(&repository("r.example/app"), None);
        assert_eq!(effective.name(), "r.example/**");
    }
}

#[test]
fn an_effective_rule_says_what_it_accepts() {
    let effective = |requirement: Requirement, mode| {
        let rules = vec![rule("r.example/**", requirement, mode)];
        let policy = policy(DefaultAction::Reject, rules, &[]).unwrap();
        policy.effective_rule(&repository("r.example/app"), None)
    };
    let accepting = effective(Requirement::InsecureAcceptAnything, Mode::Enforce);
    assert!(accepting.accepts_anything() && !accepting.only_warns());
    let warning = effective(Requirement::Reject, Mode::Warn);
    assert!(!warning.accepts_anything() && warning.only_warns());
    assert!(accepting.signed().is_none() && warning.signed().is_none());
    let default = EffectiveRule::Default(DefaultAction::InsecureAcceptAnything);
    assert!(default.accepts_anything() && !default.only_warns());
    let default = EffectiveRule::Default(DefaultAction::Reject);
    assert!(!default.accepts_anything() && default.signed().is_none() && default.pod_rule_name().is_none());
}

#[test]
fn the_deny_list_holds_under_each_algorithm_of_the_same_bytes() {
    let [sha256, sha512] = Digest::all_of(b"bytes");
    for denied in [sha256, sha512] {
        let policy = policy(DefaultAction::Reject, Vec::new(), &[denied]).unwrap();
        assert!(policy.denies(&denied));
        assert!(!policy.denies(&Digest::sha256(b"other bytes")));
        assert_eq!(policy.denied_digest_of(b"bytes"), Some(denied));
        assert_eq!(policy.denied_digest_of(b"other bytes"), None);
        assert_eq!(policy.denied().len(), 1);
    }
    let policy = policy(DefaultAction::Reject, Vec::new(), &[]).unwrap();
    assert_eq!(policy.denied_digest_of(b"bytes"), None);
}

#[test]
fn rules_are_listed_by_scope() {
    let scopes = ["r.example/b/**", "a.example/**", "r.example/a"];
    let rules = scopes.map(|scope| rule(scope, Requirement::Reject, Mode::Enforce));
    let policy = policy(DefaultAction::Reject, rules.into(), &[]).unwrap();
    let listed: Vec<&str> = policy.rules().iter().map(|rule| rule.scope.as_str()).collect();
    assert_eq!(listed, ["a.example/**", "r.example/a", "r.example/b/**"]);
    assert!(policy.keys().len() == 0);
}

#[test]
fn the_second_rule_of_a_scope_is_refused_by_its_position() {
    let scopes = ["r.example/**", "a.example/**", "r.example/**"];
    let rules = scopes.map(|scope| rule(scope, Requirement::Reject, Mode::Enforce));
    let error = policy(DefaultAction::Reject, rules.into(), &[]).unwrap_err();
    assert_eq!(
        error,
        DuplicateScope {
            scope: "r.example/**".to_owned(),
            second: 2
        }
    );
    assert_eq!(error.to_string(), "two rules have the scope `r.example/**`");
}

#[test]
fn a_generation_is_shown_by_its_first_digits() {
    assert_eq!(Generation([0xab; 32]).to_string(), "abababababab");
    let policy = policy(DefaultAction::Reject, Vec::new(), &[]).unwrap();
    assert_eq!(policy.generation(), Generation([0xab; 32]));
}

#[test]
fn a_signed_repository_follows_the_parts_that_the_scope_matched() {
    let expected = |signed: &SignedRepository, scope: &str, name: &str| {
        signed.expected(&scope.parse().unwrap(), &repository(name))
    };
    let prefix = |prefix: &str| SignedRepository::Prefix(prefix.to_owned());
    let exact = SignedRepository::Exact("team/app".to_owned());
    for (signed, scope, name, wanted) in [
        (&exact, "r.example/**", "r.example/x/y", "team/app"),
        (&prefix("team"), "r.example/**", "r.example/x/y", "team/x/y"),
        (&prefix("team"), "r.example/x/**", "r.example/x/y", "team/y"),
        (&prefix("team"), "r.example/*/**", "r.example/x/y/z", "team/y/z"),
        (&prefix("team"), "r.example/x/**", "r.example/x", "team"),
        (&prefix("a/b"), "r.example/x/**", "r.example/x/y", "a/b/y"),
        (&prefix(""), "r.example/x/**", "r.example/x/y/z", "y/z"),
        (&prefix(""), "r.example/x/**", "r.example/x", ""),
    ] {
        assert_eq!(expected(signed, scope, name), wanted, "{signed:?} {scope} {name}");
    }
    for (signed, text) in [
        (exact, "team/app"),
        (prefix("team"), "team/**"),
        (prefix(""), "**"),
    ] {
        assert_eq!(signed.to_string(), text);
    }
}

#[test]
fn words_are_spelled_as_the_configuration_spells_them() {
    assert_eq!(
        DefaultAction::ALL.map(DefaultAction::as_str),
        ["reject", "insecure-accept-anything"]
    );
    assert_eq!(Mode::ALL.map(Mode::as_str), ["enforce", "warn"]);
    assert_eq!(Requirement::Digest(BTreeSet::new()).as_str(), "digest");
    assert_eq!(
        Requirement::InsecureAcceptAnything.as_str(),
        "insecure-accept-anything"
    );
    assert_eq!(Requirement::Reject.as_str(), "reject");
}

#[test]
fn a_pod_without_its_own_rule_is_under_the_rule_for_all() {
    let rules = vec![rule("r.example/**", Requirement::Reject, Mode::Enforce)];
    let policy = policy(DefaultAction::Reject, rules, &[]).unwrap();
    let pod = Pod {
        namespace: "prod".to_owned(),
        ..Pod::default()
    };
    let effective = policy.effective_rule(&repository("r.example/app"), Some(&pod));
    assert_eq!(
        (effective.name(), effective.pod_rule_name()),
        ("r.example/**", None)
    );
}
