//! Redirects, challenges and token services.

use pullgate::base::reason::Reason;

use super::{Lie, about_manifest, about_token, content_type_header, own_url};
use crate::support::HOST;
use crate::support::liar::Answer;

pub fn lies_about_places() -> Vec<Lie> {
    use Reason::{LimitExceeded, Malformed, RegistryUnauthorized, RegistryUnreachable};
    vec![
        about_manifest("a redirect to link-local", RegistryUnreachable, |_| {
            Answer::redirect("http://169.254.169.254/opc/v2/identity/key.pem")
        }),
        about_manifest(
            "a redirect to link-local, spelled as IPv6",
            RegistryUnreachable,
            |_| Answer::redirect("http://[::ffff:169.254.169.254]/opc/v2/"),
        ),
        about_manifest(
            "a redirect to link-local, spelled as a number",
            RegistryUnreachable,
            |_| Answer::redirect("http://2852039166/latest/meta-data"),
        ),
        about_manifest(
            "a redirect to a metadata service by name",
            RegistryUnreachable,
            |_| Answer::redirect("http://metadata.google.internal/computeMetadata/v1/"),
        ),
        about_manifest("a redirect to the gate itself", RegistryUnreachable, |truth| {
            Answer::redirect(&format!(
                "http://{}/v2/acme/app/manifests/v1?ns={HOST}",
                truth.gate.get().unwrap()
            ))
        }),
        about_manifest("a redirect to a file", RegistryUnreachable, |_| {
            Answer::redirect("file:///etc/passwd")
        }),
        about_manifest("a redirect with a password", RegistryUnreachable, |truth| {
            Answer::redirect(&own_url(truth, "/x").replace("//", "//root:root@"))
        }),
        about_manifest("a redirect in a circle", LimitExceeded, |_| {
            Answer::redirect("/v2/acme/app/manifests/v1")
        }),
        about_manifest("a redirect to nowhere", Malformed, |_| Answer::status(307)),
        about_manifest("401 on every request", RegistryUnauthorized, |_| {
            Answer::challenge("Basic realm=\"x\"")
        }),
        about_manifest("401 with a malformed challenge", Malformed, |_| {
            Answer::challenge("\"=,,=\"")
        }),
        about_manifest("403", RegistryUnauthorized, |_| Answer::status(403)),
        about_token(
            "tokens that open nothing",
            RegistryUnauthorized,
            |truth| own_url(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":\"x\"}"),
        ),
        about_token(
            "a realm at the metadata service",
            RegistryUnreachable,
            |_| "http://169.254.169.254/latest/api/token".to_owned(),
            |_| Answer::Drop,
        ),
        about_token(
            "a realm at the gate itself",
            RegistryUnreachable,
            |truth| format!("http://{}/v2/", truth.gate.get().unwrap()),
            |_| Answer::Drop,
        ),
        about_token(
            "a token without end",
            LimitExceeded,
            |truth| own_url(truth, "/token"),
            |_| Answer::Endless {
                headers: content_type_header("application/json"),
                announced: None,
            },
        ),
        about_token(
            "a realm that redirects in a circle",
            LimitExceeded,
            |truth| own_url(truth, "/token"),
            |_| Answer::redirect("/token"),
        ),
        about_token(
            "a token that is not a string",
            Malformed,
            |truth| own_url(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":{}}"),
        ),
        about_token(
            "a token with a line break in it",
            Malformed,
            |truth| own_url(truth, "/token"),
            |_| Answer::ok("application/json", "{\"token\":\"x\\r\\nx-injected: 1\"}"),
        ),
    ]
}
