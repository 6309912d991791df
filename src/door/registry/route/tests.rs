use http::{HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::{Page, Route, RouteError};
use crate::base::link_header::LinkError;
use crate::base::percent;
use crate::oci::{DigestError, ReferenceError};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn get(target: &str) -> Result<Route, RouteError> {
    ask(&Method::GET, target, None)
}

fn ask(method: &Method, target: &str, default: Option<&str>) -> Result<Route, RouteError> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(method, path, query, default)
}

fn linked(link: &str) -> Result<Option<Page>, RouteError> {
    Page::next(&HeaderValue::from_str(link).unwrap())
}

/// The image name that a manifest route requests.
fn image(route: Result<Route, RouteError>) -> String {
    let route = route.unwrap();
    let Route::Manifest(reference) = &route else {
        panic!("{route:?}")
    };
    reference.to_string()
}

#[test]
fn the_registry_is_named_by_ns_then_by_the_first_part_then_by_the_default() {
    for (target, default, expected) in [
        (
            "/v2/team/app/manifests/v1?ns=reg.test",
            None,
            "reg.test/team/app:v1",
        ),
        (
            "/v2/app/manifests/v1?ns=localhost%3A5001",
            None,
            "localhost:5001/app:v1",
        ),
        (
            "/v2/library/nginx/manifests/latest?ns=docker.io",
            None,
            "docker.io/library/nginx:latest",
        ),
        ("/v2/reg.test/team/app/manifests/v1", None, "reg.test/team/app:v1"),
        ("/v2/reg.test:5000/app/manifests/v1", None, "reg.test:5000/app:v1"),
        (
            "/v2/reg.test%3A5000/app/manifests/v1",
            None,
            "reg.test:5000/app:v1",
        ),
        ("/v2/localhost/app/manifests/v1", None, "localhost/app:v1"),
        (
            "/v2/docker.io/nginx/manifests/v1",
            None,
            "docker.io/library/nginx:v1",
        ),
        (
            "/v2/team/app/manifests/v1",
            Some("docker.io"),
            "docker.io/team/app:v1",
        ),
        (
            "/v2/nginx/manifests/v1",
            Some("docker.io"),
            "docker.io/library/nginx:v1",
        ),
        ("/v2/nginx/manifests/v1", Some("reg.test"), "reg.test/nginx:v1"),
        // A registry that the request itself names takes precedence over the default.
        (
            "/v2/reg.test/app/manifests/v1",
            Some("docker.io"),
            "reg.test/app:v1",
        ),
        (
            "/v2/app/manifests/v1?ns=reg.test",
            Some("docker.io"),
            "reg.test/app:v1",
        ),
        (
            "/v2/other.test/app/manifests/v1?ns=reg.test",
            Some("docker.io"),
            "reg.test/other.test/app:v1",
        ),
        // A host alone does not name an image of that host: it is a name below the default.
        (
            "/v2/reg.test/manifests/v1",
            Some("docker.io"),
            "docker.io/library/reg.test:v1",
        ),
        // One host has one spelling, or a second spelling would be a way past a rule.
        ("/v2/REG.test:443/app/manifests/v1", None, "reg.test/app:v1"),
        ("/v2/app/manifests/v1?ns=REG.test", None, "reg.test/app:v1"),
    ] {
        assert_eq!(image(ask(&Method::GET, target, default)), expected, "{target}");
        assert_eq!(image(ask(&Method::HEAD, target, default)), expected, "{target}");
    }
    for target in [
        "/v2/app/manifests/v1",
        "/v2/team/app/manifests/v1",
        "/v2/reg.test/manifests/v1",
    ] {
        assert_eq!(get(target), Err(RouteError::NoRegistry), "{target}");
    }
}

#[test]
fn digests_are_told_from_tags_and_read_whole() {
    let name = format!("reg.test/app@{DIGEST}");
    assert_eq!(image(get(&format!("/v2/reg.test/app/manifests/{DIGEST}"))), name);
    assert_eq!(
        image(get(&format!(
            "/v2/reg.test/app/manifests/{}",
            DIGEST.replace(':', "%3a")
        ))),
        name
    );
    let Route::Blob(reference) = get(&format!("/v2/reg.test/app/blobs/{DIGEST}")).unwrap() else {
        panic!()
    };
    assert_eq!(reference.to_string(), name);
    let encoded = |algorithm, digits| RouteError::Digest(DigestError::Encoded { algorithm, digits });
    for (reference, error) in [
        (
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            RouteError::Digest(DigestError::Algorithm),
        ),
        ("sha256:e3b0", encoded("sha256", 64)),
        (
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            encoded("sha256", 64),
        ),
    ] {
        assert_eq!(
            get(&format!("/v2/reg.test/app/manifests/{reference}")),
            Err(error.clone()),
            "{reference}"
        );
        assert_eq!(
            get(&format!("/v2/reg.test/app/blobs/{reference}")),
            Err(error),
            "{reference}"
        );
    }
    assert_eq!(
        get("/v2/reg.test/app/blobs/v1"),
        Err(RouteError::Digest(DigestError::Algorithm))
    );
    assert_eq!(
        get("/v2/reg.test/app/referrers/v1"),
        Err(RouteError::Digest(DigestError::Algorithm))
    );
    assert_eq!(
        get("/v2/reg.test/app/manifests/-v1"),
        Err(RouteError::Name(ReferenceError::Tag("-v1".to_owned())))
    );
}

#[test]
fn names_are_read_from_the_end() {
    for name in [
        "manifests/blobs",
        "tags/list",
        "blobs/uploads",
        "a/manifests/v1",
        "referrers/tags",
    ] {
        let target = format!("/v2/reg.test/{name}/manifests/v1");
        assert_eq!(image(get(&target)), format!("reg.test/{name}:v1"));
    }
}

#[test]
fn the_other_endpoints() {
    assert_eq!(get("/v2/"), Ok(Route::Base));
    assert_eq!(get("/v2"), Ok(Route::Base));
    assert_eq!(ask(&Method::HEAD, "/v2/?ns=reg.test", None), Ok(Route::Base));
    let Route::Tags { name, page } = get("/v2/reg.test/app/tags/list?n=10&last=v1%2B&x=y").unwrap() else {
        panic!()
    };
    assert_eq!(name.repository.to_string(), "reg.test/app");
    assert_eq!(page.query().as_deref(), Some("n=10&last=v1%2B"));
    let Route::Tags { page, .. } = get("/v2/reg.test/app/tags/list").unwrap() else {
        panic!()
    };
    assert_eq!(page.query(), None);
    let target = format!("/v2/app/referrers/{DIGEST}?artifactType=application%2Fvnd.x+json&ns=reg.test");
    let Route::Referrers {
        subject,
        artifact_type,
    } = get(&target).unwrap()
    else {
        panic!()
    };
    assert_eq!(subject.to_string(), format!("reg.test/app@{DIGEST}"));
    assert_eq!(artifact_type.as_deref(), Some("application/vnd.x+json"));
}

#[test]
fn whatever_writes_is_refused_whatever_its_name() {
    for method in [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
    ] {
        for target in [
            "/v2/",
            "/v2/app/blobs/uploads/",
            "/v2/app/blobs/uploads/6b3c9a93-af5d-473f-a4cc-9710022185cd?digest=x",
            "/v2/reg.test/app/manifests/v1",
            "/v2/..%2f/app/manifests/v1",
        ] {
            let error = ask(&method, target, None).unwrap_err();
            assert_eq!(
                error,
                RouteError::Method { allow: "GET, HEAD" },
                "{method} {target}"
            );
            assert_eq!(error.answer(), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
            assert_eq!(error.to_string(), "this door serves pulls only");
        }
    }
    for target in [
        "/v2/reg.test/app/tags/list",
        &format!("/v2/reg.test/app/referrers/{DIGEST}"),
    ] {
        assert_eq!(
            ask(&Method::HEAD, target, None),
            Err(RouteError::Method { allow: "GET" })
        );
    }
}

#[test]
fn hostile_paths_are_refused() {
    for target in [
        "/v2/reg.test//app/manifests/v1",
        "/v2//reg.test/app/manifests/v1",
        "/v2/reg.test/app/manifests/",
        "/v2/reg.test/../app/manifests/v1",
        "/v2/reg.test/./app/manifests/v1",
        "/v2/reg.test/%2e%2e/app/manifests/v1",
        "/v2/reg.test/.%2E/app/manifests/v1",
        "/v2/reg.test%2fapp/manifests/v1",
        "/v2/reg.test/a%2Fb/manifests/v1",
        "/v2/reg.test/a%5cb/manifests/v1",
        "/v2/reg.test/a\\b/manifests/v1",
        "/v2/reg.test/app/manifests/v1%2f..",
        "/v2/reg.test/app%00/manifests/v1",
        "/v2/reg.test/app/manifests/v1%0d%0aX:%20y",
        "/v2/reg.test/app/manifests/v1%20",
        "/v2/reg.test/app/manifests/%ff%fe",
        "/v2/reg.test/app/manifests/v\u{e9}",
        "/v2/reg.test/app/manifests/%",
        "/v2/reg.test/app/manifests/%4",
        "/v2/reg.test/app/manifests/%zz",
        "/v2/reg.test/app/manifests/%+1",
        // Twice encoded: a second reader would find `/` or `..`.
        "/v2/reg.test/a%252fb/manifests/v1",
        "/v2/reg.test/%252e%252e/manifests/v1",
        "/v2/app/manifests/v1?ns=",
        "/v2/app/manifests/v1?ns",
        "/v2/app/manifests/v1?ns=reg.test%00",
        "/v2/app/manifests/v1?ns=%",
        "/v2/app/manifests/v1?%6=x",
        "/v2/reg.test/app/tags/list?last=%0a",
    ] {
        let error = get(target).unwrap_err();
        assert_eq!(error, RouteError::Encoding, "{target}");
        assert_eq!(error.answer().0, StatusCode::BAD_REQUEST);
    }
    for target in [
        "/v2/app/manifests/v1?ns=evil.test/app",
        "/v2/app/manifests/v1?ns=user@reg.test",
        "/v2/app/manifests/v1?ns=reg.test%2f..",
        "/v2/app/manifests/v1?ns=http://reg.test",
        "/v2/app/manifests/v1?ns=reg.test%23",
        "/v2/app/manifests/v1?ns=reg.test:99999999",
        "/v2/user@reg.test/app/manifests/v1",
        "/v2/reg.test/App/manifests/v1",
        "/v2/reg.test/app@x/manifests/v1",
        "/v2/reg.test/app;x/manifests/v1",
        "/v2/reg.test/app%3Fx/manifests/v1",
        "/v2/reg.test/app%23x/manifests/v1",
    ] {
        let error = get(target).unwrap_err();
        assert!(matches!(error, RouteError::Name(_)), "{target}: {error:?}");
        assert_eq!(error.answer(), (StatusCode::BAD_REQUEST, "NAME_INVALID"));
    }
    for target in [
        "/",
        "",
        "/v1/",
        "/v2x/",
        "/v20",
        "/metrics",
        "/v2/_catalog",
        "/v2/reg.test/app",
        "/v2/manifests/v1",
        "/v2/tags/list",
        "/v2/blobs/x",
        "/v2/reg.test/app/tags/all",
        "v2/reg.test/app/manifests/v1",
        "*",
        "/V2/reg.test/app/manifests/v1",
    ] {
        assert_eq!(get(target), Err(RouteError::NotFound), "{target}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for (query, key) in [
        ("ns=reg.test&ns=evil.test", "ns"),
        ("ns=reg.test&ns=reg.test", "ns"),
        ("ns=reg.test&%6e%73=evil.test", "ns"),
        ("ns=reg.test&n=1&n=2", "n"),
    ] {
        let target = format!("/v2/app/manifests/v1?{query}");
        assert_eq!(get(&target), Err(RouteError::Duplicate(key)), "{query}");
    }
    assert_eq!(
        image(get("/v2/app/manifests/v1?x=1&x=2&&ns=reg.test")),
        "reg.test/app:v1"
    );
}

#[test]
fn pages_are_numbers_and_tags() {
    for n in ["x", "-1", "1e3", "12345678", "%3B"] {
        let target = format!("/v2/reg.test/app/tags/list?n={n}");
        assert_eq!(get(&target), Err(RouteError::Query("n")), "{n}");
    }
}

#[test]
fn a_next_page_leads_back_to_this_door() {
    let at = |target: &str| {
        let Ok(Route::Tags { name, .. }) = get(target) else {
            panic!("{target}")
        };
        name
    };
    let next = |link: &str| linked(link).map(|page| page.map(|page| page.query().unwrap()));
    for link in [
        r#"</v2/app/tags/list?last=v9&n=10>; rel="next""#,
        r#"<https://reg.test/v2/app/tags/list?n=10&last=v9#x>;rel=next"#,
        r#"</first>; rel="first", </v2/app/tags/list?n=10&last=v9&token=x>; title="a"; REL="Next""#,
    ] {
        assert_eq!(next(link), Ok(Some("n=10&last=v9".to_owned())), "{link}");
    }
    for link in [
        "",
        "</v2/app/tags/list?n=10&last=v9>",
        r#"</x?last=v9>; rel="prev""#,
    ] {
        assert_eq!(next(link), Ok(None), "{link}");
    }
    // A list that ended here would hide tags: Go's clients refuse these as well.
    for link in ["<", "rel=next", "<x"] {
        assert_eq!(next(link), Err(RouteError::Link(LinkError::Syntax)), "{link}");
    }
    // A page that `n` and `last` don't say: without them a client would read the first page for ever.
    assert_eq!(
        next(r#"</v2/app/tags/list?next_page=x>; rel="next""#),
        Err(RouteError::Query("last"))
    );
    assert_eq!(
        next(r#"</v2/app/tags/list>; rel="next""#),
        Err(RouteError::Query("last"))
    );
    assert_eq!(
        next(r#"</x?last=a&last=b>; rel="next""#),
        Err(RouteError::Duplicate("last"))
    );
    let binary = HeaderValue::from_bytes(b"</x?last=\xff>; rel=next").unwrap();
    assert!(matches!(Page::next(&binary), Err(RouteError::Link(_))));

    let page = linked(r#"</x?n=2&last=v%2B1>; rel=next"#).unwrap().unwrap();
    assert_eq!(
        at("/v2/reg.test:5000/app/tags/list").tags_at(&page),
        "/v2/reg.test%3A5000/app/tags/list?n=2&last=v%2B1"
    );
    assert_eq!(
        at("/v2/app/tags/list?ns=a.test:1").tags_at(&page),
        "/v2/app/tags/list?n=2&last=v%2B1&ns=a.test%3A1"
    );
}

#[test]
fn an_overlong_target_is_refused_before_it_is_read() {
    let long = "a".repeat(crate::door::registry::route::REQUEST_TARGET_BYTES);
    assert_eq!(
        get(&format!("/v2/reg.test/{long}/manifests/v1")),
        Err(RouteError::TooLong)
    );
    assert_eq!(
        get(&format!("/v2/reg.test/app/manifests/v1?x={long}")),
        Err(RouteError::TooLong)
    );
    let fits = "a".repeat(
        crate::door::registry::route::REQUEST_TARGET_BYTES - "/v2/reg.test/app/manifests/v1?x=".len()
            + "?".len(),
    );
    assert!(get(&format!("/v2/reg.test/app/manifests/v1?x={fits}")).is_ok());
}

proptest! {
    /// Whatever is sent, what comes out is a name that reads back as itself.
    #[test]
    fn what_is_let_through_is_canonical(path in "(/v2)?[ -~é/%.:]{0,60}(/manifests/|/blobs/|/tags/|/referrers/)?[ -~]{0,30}", query in "(ns=)?[ -~]{0,30}") {
        if let Ok(Route::Manifest(reference) | Route::Blob(reference)) =
            Route::parse(&Method::GET, &path, Some(&query), Some("docker.io"))
        {
            let text = reference.to_string();
            prop_assert_eq!(text.parse(), Ok(reference));
            prop_assert!(!text.contains(['%', ' ', '?', '#', '\\']) && !text.contains("..") && !text.contains("//"));
        }
    }

    /// A page's link, followed at this door, is the page that the origin meant.
    #[test]
    fn links_lead_to_the_page_they_came_from(last in "[!-~]{1,40}", host in "[a-z]{1,8}\\.test(:[1-9][0-9]{0,3})?") {
        let query = format!("last={}", percent::encode(&last));
        let next = linked(&format!("</v2/x/tags/list?{query}>; rel=\"next\""));
        // No registry returns a tag with a `%`: the door refuses it instead of passing on a half-read tag.
        prop_assume!(!last.contains('%'));
        let page = next.unwrap().unwrap();
        let Ok(Route::Tags { name, .. }) = get(&format!("/v2/app/tags/list?ns={host}")) else { panic!() };
        let Ok(Route::Tags { name: again, page: followed }) = get(&name.tags_at(&page)) else { panic!() };
        prop_assert_eq!(name, again);
        prop_assert_eq!(page, followed);
    }
}
