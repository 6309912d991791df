use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Pod, Pods};
use crate::pull::policy::{DefaultAction, EffectiveRule, Generation, Mode, Policy, Requirement, Rule};

fn pods(namespaces: &[&str], labels: &[(&str, &str)]) -> Pods {
    Pods {
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        labels: labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn pod(namespace: &str, labels: &[(&str, &str)]) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        labels: labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn rules(all: &[(&str, Pods)]) -> Result<Policy, crate::pull::policy::DuplicateScope> {
    let rules = all.iter().map(|(scope, pods)| {
        Rule::new(
            scope.parse().unwrap(),
            Requirement::Reject,
            Mode::Enforce,
            pods.clone(),
        )
    });
    Policy::new(
        DefaultAction::Reject,
        rules.collect(),
        BTreeSet::new(),
        Vec::new(),
        Generation([0; 32]),
    )
}

fn speaks(policy: &Policy, repository: &str, pod: Option<&Pod>) -> String {
    policy
        .effective_rule(&repository.parse().unwrap(), pod)
        .name()
        .to_owned()
}

#[test]
fn the_rule_that_describes_the_pod_most_closely_applies() {
    let web = [("tier", "web")];
    let both = [("tier", "web"), ("zone", "outer")];
    let mut all = [
        ("r.example/**", Pods::default()),
        ("r.example/**", pods(&["prod"], &[])),
        ("r.example/**", pods(&[], &web)),
        ("r.example/**", pods(&["prod"], &web)),
        ("r.example/**", pods(&[], &both)),
        ("r.example/**", pods(&[], &[("tier", "db")])),
        ("r.example/**", pods(&[], &[("zone", "outer")])),
        ("r.example/shop/*", Pods::default()),
        ("r.example/shop/web", pods(&[], &[("tier", "db")])),
    ];
    // The order in which the rules are written does not matter.
    for _ in 0..2 {
        all.reverse();
        let policy = rules(&all).unwrap();
        for (pod, name) in [
            (None, "r.example/**"),
            (Some(pod("dev", &[])), "r.example/**"),
            (Some(pod("", &[])), "r.example/**"),
            (Some(pod("prod", &[])), "r.example/** in prod"),
            (Some(pod("dev", &web)), "r.example/** with tier=web"),
            (Some(pod("prod", &web)), "r.example/** in prod with tier=web"),
            (Some(pod("prod", &both)), "r.example/** with tier=web, zone=outer"),
            (
                Some(pod("dev", &[("tier", "db"), ("zone", "outer")])),
                "r.example/** with tier=db",
            ),
            (
                Some(pod("dev", &[("tier", "Web"), ("other", "web")])),
                "r.example/**",
            ),
        ] {
            assert_eq!(speaks(&policy, "r.example/app", pod.as_ref()), name, "{pod:?}");
        }
        // The scope is compared first, before the pods.
        let web = pod("prod", &both);
        assert_eq!(
            speaks(&policy, "r.example/shop/api", Some(&web)),
            "r.example/shop/*"
        );
        // A rule for other labels does not hide a rule with a less specific scope.
        assert_eq!(
            speaks(&policy, "r.example/shop/web", Some(&web)),
            "r.example/shop/*"
        );
        let database = pod("prod", &[("tier", "db")]);
        assert_eq!(
            speaks(&policy, "r.example/shop/web", Some(&database)),
            "r.example/shop/web with tier=db"
        );
        assert_eq!(speaks(&policy, "elsewhere.example/app", Some(&web)), "default");
    }
}

#[test]
fn a_rule_for_some_pods_has_a_name_of_its_own() {
    let all = [
        ("r.example/**", Pods::default()),
        ("r.example/**", pods(&[], &[("tier", "web")])),
    ];
    let policy = rules(&all).unwrap();
    let repository = "r.example/app".parse().unwrap();
    assert_eq!(policy.effective_rule(&repository, None).pod_rule_name(), None);
    let ruling = policy.effective_rule(&repository, Some(&pod("", &[("tier", "web")])));
    assert_eq!(ruling.pod_rule_name(), Some("r.example/** with tier=web"));
    assert!(matches!(ruling, EffectiveRule::Rule(rule) if Arc::strong_count(&rule) > 1));
}

#[test]
fn two_rules_for_the_same_pods_are_refused() {
    let web = [("tier", "web")];
    for (one, other, fits) in [
        (pods(&[], &web), pods(&[], &web), false),
        (pods(&["a", "b"], &web), pods(&["b", "c"], &web), false),
        (pods(&["a"], &web), pods(&["b"], &web), true),
        (pods(&["a"], &web), pods(&[], &web), true),
        (pods(&[], &web), pods(&[], &[("tier", "db")]), true),
        (pods(&["a"], &[]), pods(&["a"], &web), true),
        (pods(&["a"], &[]), pods(&["a"], &[]), false),
    ] {
        let all = [("r.example/**", one.clone()), ("r.example/**", other.clone())];
        assert_eq!(rules(&all).is_ok(), fits, "{one:?} {other:?}");
    }
}
