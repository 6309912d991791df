use std::cmp::Reverse;

use proptest::prelude::*;

use super::{Host, Part, Scope, ScopeError, ScopeIndex};
use crate::oci::Repository;

fn scope(text: &str) -> Scope {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn repository(text: &str) -> Repository {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Returns the scope that applies to a name.
fn speaks<'s>(scopes: &[&'s str], name: &str) -> Option<&'s str> {
    let mut index = ScopeIndex::default();
    for text in scopes {
        assert_eq!(index.insert(&scope(text), *text), None);
    }
    index.most_specific(&repository(name)).copied()
}

#[test]
fn a_scope_is_printed_as_it_was_written() {
    for text in [
        "docker.io/library/nginx",
        "docker.io/**",
        "docker.io/library/*",
        "docker.io/*/*",
        "docker.io/nginx/**",
        "ghcr.io/acme",
        "ghcr.io/*",
        "*.example.com/**",
        "*.com/**",
        "*.example.com:5000/a/*/b/**",
        "localhost/a",
        "localhost:5000/a",
        "foo:443/a",
        "[::1]:5000/**",
        "10.0.0.1/**",
        "phx.ocir.io/ansh81vru1zp/project01/**",
    ] {
        assert_eq!(scope(text).as_str(), text);
        assert_eq!(scope(text).to_string(), text);
    }
}

#[test]
fn another_spelling_is_refused_with_the_right_one() {
    for (text, normalised) in [
        ("nginx", "docker.io/library/nginx"),
        ("acme/app", "docker.io/acme/app"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("docker.io/*", "docker.io/library/*"),
        ("index.docker.io/acme/**", "docker.io/acme/**"),
        ("registry-1.docker.io/nginx", "docker.io/library/nginx"),
        ("GHCR.io/acme/*", "ghcr.io/acme/*"),
        ("Localhost/a", "localhost/a"),
        ("ghcr.io:443/**", "ghcr.io/**"),
        ("*.Example.com:443/**", "*.example.com/**"),
        ("[0::1]/a", "[::1]/a"),
    ] {
        let expected = ScopeError::NotNormalised {
            normalised: normalised.to_owned(),
        };
        assert_eq!(text.parse::<Scope>(), Err(expected), "{text}");
        assert_eq!(scope(normalised).as_str(), normalised);
    }
}

#[test]
fn a_host_alone_is_refused_with_the_scope_of_the_registry() {
    for (text, whole) in [
        ("ghcr.io", "ghcr.io/**"),
        ("INDEX.docker.io", "docker.io/**"),
        ("localhost", "localhost/**"),
        ("registry:5000", "registry:5000/**"),
        ("*.example.com", "*.example.com/**"),
    ] {
        assert_eq!(
            text.parse::<Scope>(),
            Err(ScopeError::NoPath {
                whole: whole.to_owned()
            }),
            "{text}"
        );
        assert_eq!(scope(whole).as_str(), whole);
    }
}

#[test]
fn an_invalid_scope_is_refused_with_its_fault() {
    use ScopeError::{NoHost, NotARepository, Wildcard};
    let digest = format!("ghcr.io/a@sha256:{}", "0".repeat(64));
    for (text, error) in [
        ("", NoHost),
        ("/a", NoHost),
        ("/", NoHost),
        ("acme/**", NoHost),
        ("acme/*/app", NoHost),
        ("nginx:latest", NotARepository),
        ("acme/app:v1", NotARepository),
        ("ghcr.io/acme/app:v1", NotARepository),
        ("ghcr.io/acme:v1/app", NotARepository),
        (&digest, NotARepository),
        ("*", Wildcard),
        ("**", Wildcard),
        ("*/nginx", Wildcard),
        ("**/nginx", Wildcard),
        ("*:5000/a", Wildcard),
        ("a.*.com/**", Wildcard),
        ("*.*.com/**", Wildcard),
        ("**.example.com/**", Wildcard),
        ("*example.com/**", Wildcard),
        ("ghcr.io/a*", Wildcard),
        ("ghcr.io/*a", Wildcard),
        ("ghcr.io/**a", Wildcard),
        ("ghcr.io/***", Wildcard),
        ("ghcr.io/**/a", Wildcard),
        ("ghcr.io/**/**", Wildcard),
        ("ghcr.io/**/", Wildcard),
    ] {
        assert_eq!(text.parse::<Scope>(), Err(error), "{text:?}");
    }
    for (text, part) in [
        ("ghcr.io/", ""),
        ("ghcr.io/a/", ""),
        ("ghcr.io//a", ""),
        ("ghcr.io/A", "A"),
        ("ghcr.io/a/../b", ".."),
        ("ghcr.io/a\0", "a\\0"),
        ("ghcr.io/a b", "a b"),
        ("ghcr.io/é", "é"),
        ("ghcr.io/a?", "a?"),
        ("docker.io./a", "docker.io."),
        ("Foo/a", "Foo"),
        ("https://ghcr.io/a", "https:"),
        ("127.1/a", "127.1"),
        ("*./a", "*."),
        ("*.0.0.1/a", "*.0.0.1"),
        ("*.10.0.0.1/a", "*.10.0.0.1"),
        ("*.[::1]/a", "*.[::1]"),
        ("../a", ".."),
    ] {
        assert_eq!(
            text.parse::<Scope>(),
            Err(ScopeError::Part(part.to_owned())),
            "{text:?}"
        );
    }
    let long = format!("ghcr.io/{}", "a/".repeat(200));
    assert_eq!(long.parse::<Scope>(), Err(ScopeError::TooLong));
}

#[test]
fn nothing_matches_a_part_of_a_part() {
    for (pattern, name) in [
        ("example.com/**", "example.com.attacker.net/a"),
        ("example.com/**", "an-example.com/a"),
        ("example.com/**", "sub.example.com/a"),
        ("example.com/**", "example.com:5000/a"),
        ("*.example.com/**", "example.com/a"),
        ("*.example.com/**", "a.b.example.com/a"),
        ("*.example.com/**", "a.example.com:5000/a"),
        ("*.example.com:5000/**", "a.example.com/a"),
        ("*.example.com/**", "an-example.com/a"),
        ("*.com/**", "a.example.com/a"),
        ("ghcr.io/project01/**", "ghcr.io/project01x"),
        ("ghcr.io/project01/**", "ghcr.io/project01x/a"),
        ("ghcr.io/project01/**", "ghcr.io/project0"),
        ("ghcr.io/project01", "ghcr.io/project01/a"),
        ("ghcr.io/*", "ghcr.io/a/b"),
        ("ghcr.io/*/b", "ghcr.io/a"),
        ("ghcr.io/a/*", "ghcr.io/a"),
        ("ghcr.io/a/*/**", "ghcr.io/a"),
        ("docker.io/nginx/**", "nginx"),
    ] {
        assert_eq!(speaks(&[pattern], name), None, "{pattern} {name}");
    }
    for (pattern, name) in [
        ("example.com/**", "example.com/a"),
        ("example.com/**", "EXAMPLE.com:443/a"),
        ("*.example.com/**", "a.example.com/a/b/c"),
        ("*.example.com:5000/**", "a.example.com:5000/a"),
        ("ghcr.io/project01/**", "ghcr.io/project01"),
        ("ghcr.io/project01/**", "ghcr.io/project01/a/b"),
        ("ghcr.io/*/b", "ghcr.io/a/b"),
        ("docker.io/library/*", "nginx"),
        ("docker.io/**", "index.docker.io/nginx"),
        ("docker.io/**", "registry-1.docker.io/library/nginx"),
    ] {
        assert_eq!(speaks(&[pattern], name), Some(pattern), "{pattern} {name}");
    }
}

#[test]
fn the_most_specific_scope_applies() {
    // Each list goes from the most specific scope to the least; all of them match the name.
    for (name, scopes) in [
        (
            "reg.example.com/a/b",
            &[
                "reg.example.com/a/b",
                "reg.example.com/a/b/**",
                "reg.example.com/a/*",
                "reg.example.com/a/*/**",
                "reg.example.com/a/**",
                "reg.example.com/*/b",
                "reg.example.com/*/b/**",
                "reg.example.com/*/*",
                "reg.example.com/*/**",
                "reg.example.com/**",
                "*.example.com/a/b",
                "*.example.com/**",
            ][..],
        ),
        (
            "docker.io/library/nginx",
            &[
                "docker.io/library/nginx",
                "docker.io/library/*",
                "docker.io/*/nginx",
                "docker.io/**",
            ],
        ),
    ] {
        for first in 0..scopes.len() {
            let mut left = scopes[first..].to_vec();
            assert_eq!(speaks(&left, name), Some(scopes[first]));
            left.reverse();
            assert_eq!(speaks(&left, name), Some(scopes[first]));
        }
    }
}

#[test]
fn a_literal_that_leads_nowhere_does_not_hide_the_wildcard_beside_it() {
    assert_eq!(
        speaks(&["ghcr.io/a/b/c", "ghcr.io/*/b/d"], "ghcr.io/a/b/d"),
        Some("ghcr.io/*/b/d")
    );
    assert_eq!(
        speaks(&["ghcr.io/a/b/c", "ghcr.io/*/*/e", "ghcr.io/**"], "ghcr.io/a/b/d"),
        Some("ghcr.io/**")
    );
    assert_eq!(speaks(&["a.b.io/x", "*.b.io/**"], "a.b.io/y"), Some("*.b.io/**"));
}

#[test]
fn inserting_a_scope_twice_returns_the_first_value() {
    let mut index = ScopeIndex::default();
    for text in [
        "ghcr.io/a",
        "ghcr.io/a/**",
        "ghcr.io/*",
        "ghcr.io/**",
        "*.ghcr.io/**",
    ] {
        assert_eq!(index.insert(&scope(text), 1), None, "{text}");
    }
    for text in [
        "ghcr.io/a",
        "ghcr.io/a/**",
        "ghcr.io/*",
        "ghcr.io/**",
        "*.ghcr.io/**",
    ] {
        assert_eq!(index.insert(&scope(text), 2), Some(1), "{text}");
    }
    assert_eq!(index.most_specific(&repository("ghcr.io/a")), Some(&2));
}

#[test]
fn a_look_up_ends_where_wildcards_could_branch_without_end() {
    // `a` and `*` at every part, and nothing that ends where the name does.
    let mut index = ScopeIndex::default();
    for literals in 0..100 {
        let text = format!("ghcr.io{}{}", "/a".repeat(literals), "/*".repeat(100 - literals));
        if let Ok(scope) = text.parse::<Scope>() {
            index.insert(&scope, literals);
        }
    }
    let name = format!("ghcr.io{}", "/a".repeat(101));
    assert_eq!(index.most_specific(&repository(&name)), None);
}

/// The definition of [`Scope`] in its plainest form: whether a scope matches, and how two matching scopes compare.
fn matches(scope: &Scope, repository: &Repository) -> bool {
    let parts: Vec<&str> = repository.path().split('/').collect();
    let host = match &scope.host {
        Host::Literal(name) => name == repository.registry(),
        Host::Below(name) => repository
            .registry()
            .strip_suffix(name.as_str())
            .and_then(|label| label.strip_suffix('.'))
            .is_some_and(|label| !label.contains('.')),
    };
    let length = if scope.rest {
        parts.len() >= scope.path.len()
    } else {
        parts.len() == scope.path.len()
    };
    host && length
        && scope.path.iter().zip(&parts).all(|(part, name)| match part {
            Part::Any => true,
            Part::Literal(literal) => literal == name,
        })
}

fn specificity(scope: &Scope) -> (bool, Vec<u8>) {
    let mut parts: Vec<u8> = scope
        .path
        .iter()
        .map(|part| if *part == Part::Any { 2 } else { 3 })
        .collect();
    // An exact end precedes an end in `**`, and a part of any kind precedes both.
    parts.push(u8::from(!scope.rest));
    (matches!(scope.host, Host::Literal(_)), parts)
}

prop_compose! {
    fn names()(host in "(a\\.b\\.io|b\\.io|a\\.io|a\\.b\\.io:5000|localhost)", parts in prop::collection::vec("[ab]", 1..5)) -> String {
        format!("{host}/{}", parts.join("/"))
    }
}

prop_compose! {
    fn scopes()(
        host in "((a|\\*)\\.b\\.io|b\\.io|(a|\\*)\\.io|(a|\\*)\\.b\\.io:5000|localhost)",
        parts in prop::collection::vec("([ab]|\\*)", 0..5),
        rest in any::<bool>(),
    ) -> Scope {
        let rest = if rest || parts.is_empty() { "/**" } else { "" };
        let path: String = parts.iter().map(|part| format!("/{part}")).collect();
        scope(&format!("{host}{path}{rest}"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_says_what_the_definition_says(scopes in prop::collection::vec(scopes(), 0..24), name in names()) {
        let repository = repository(&name);
        let mut index = ScopeIndex::default();
        for scope in &scopes {
            index.insert(scope, scope.clone());
        }
        let expected = scopes.iter().filter(|scope| matches(scope, &repository)).min_by_key(|scope| Reverse(specificity(scope)));
        prop_assert_eq!(index.most_specific(&repository), expected);
    }

    #[test]
    fn a_repository_is_its_own_scope(name in names()) {
        prop_assert_eq!(speaks(&[&name], &name), Some(&*name));
    }

    #[test]
    fn what_is_read_is_printed_as_it_was(text in "[a-zA-Z*./:@\\[\\]-]{0,24}|\\PC{0,16}") {
        match text.parse::<Scope>() {
            Ok(scope) => prop_assert_eq!(scope.as_str(), text),
            // A suggestion is itself a valid scope.
            Err(ScopeError::NotNormalised { normalised }) => prop_assert!(normalised.parse::<Scope>().is_ok(), "{}", normalised),
            Err(ScopeError::NoPath { whole }) => prop_assert!(whole.parse::<Scope>().is_ok(), "{}", whole),
            Err(_) => {}
        }
    }
}
