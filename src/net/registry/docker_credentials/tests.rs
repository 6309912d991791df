use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::{
    CredentialsKey, DockerCredentialsError, Login, Presented, Secret, look_up, normalised_key, program,
    run_helper,
};
use crate::net::registry::Credentials;

fn basic(user: &str, password: &str) -> Login {
    Login::Basic {
        user: user.to_owned(),
        password: Secret::new(password.to_owned()),
    }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

async fn found(text: &str, server: &str, repository: &str) -> Result<Option<Login>, DockerCredentialsError> {
    let (_folder, path) = file(text);
    look_up(&Credentials::File(path), None, server, repository).await
}

#[test]
fn the_keys_of_all_clients_are_reduced_to_one_server_name() {
    for (key, name) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("docker.io/library", "docker.io/library"),
        ("https://quay.io", "quay.io"),
        ("http://localhost:5000/v2/", "localhost:5000"),
        ("quay.io/team/", "quay.io/team"),
    ] {
        assert_eq!(normalised_key(key), name, "{key}");
    }
}

#[tokio::test]
async fn the_entry_with_the_longest_path_counts() {
    // "host:x", "team:x", "app:x"
    let text = r#"{"auths":{
        "quay.io":{"auth":"aG9zdDp4"},
        "quay.io/team":{"auth":"dGVhbTp4"},
        "quay.io/team/app":{"auth":"YXBwOng="},
        "quay.io/empty":{},
        "https://index.docker.io/v1/":{"username":"hub","password":"x","email":"ignored"}
    },"HttpHeaders":{"User-Agent":"docker"}}"#;
    for (server, repository, user) in [
        ("quay.io", "team/app", Some("app")),
        ("quay.io", "team/app/deeper", Some("app")),
        ("quay.io", "team/application", Some("team")),
        ("quay.io", "teams", Some("host")),
        ("quay.io", "empty/app", Some("host")),
        ("docker.io", "library/nginx", Some("hub")),
        ("quay.io:443", "team/app", None),
        ("evil.quay.io", "team/app", None),
    ] {
        let login = found(text, server, repository).await.unwrap();
        assert_eq!(login, user.map(|user| basic(user, "x")), "{server}/{repository}");
    }
}

#[tokio::test]
async fn entries_are_read_in_each_form_that_docker_writes() {
    for (entry, login) in [
        (r#"{"auth":"dXNlcjpwYTpzcw=="}"#, Some(basic("user", "pa:ss"))),
        (r#"{"auth":"dXNlcjpwAAA="}"#, Some(basic("user", "p"))),
        (
            r#"{"auth":"dXNlcjo=","identitytoken":"t"}"#,
            Some(Login::IdentityToken(Secret::new("t".to_owned()))),
        ),
        (r#"{"username":"user","password":"p"}"#, Some(basic("user", "p"))),
        ("{}", None),
    ] {
        let text = format!(r#"{{"auths":{{"quay.io":{entry}}}}}"#);
        assert_eq!(found(&text, "quay.io", "a").await.unwrap(), login, "{entry}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_without_secrets() {
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(1024 * 1024));
    for (text, kind) in [
        ("", "syntax"),
        ("[]", "syntax"),
        (r#"{"auths":"hunter2"}"#, "syntax"),
        (r#"{"auths":{"quay.io":{"auth":["hunter2"]}}}"#, "syntax"),
        (r#"{"auths":{},"auths":{}}"#, "syntax"),
        (r#"{"auths":{"quay.io":{"auth":"hunter2!"}}}"#, "auth"),
        (r#"{"auths":{"quay.io":{"auth":"aHVudGVyMg=="}}}"#, "auth"),
        (r#"{"credHelpers":{"quay.io":"/bin/hunter2"}}"#, "name"),
        (r#"{"credsStore":"a b"}"#, "name"),
        (r#"{"credsStore":"no-such-helper-of-pullgate"}"#, "run"),
        (&large, "large"),
    ] {
        let error = found(text, "quay.io", "a").await.unwrap_err();
        let said = match &error {
            DockerCredentialsError::Syntax { .. } => "syntax",
            DockerCredentialsError::Auth { .. } => "auth",
            DockerCredentialsError::HelperName(_) => "name",
            DockerCredentialsError::HelperRun { .. } => "run",
            DockerCredentialsError::FileLarge { .. } => "large",
            DockerCredentialsError::File { .. }
            | DockerCredentialsError::HelperAnswer { .. }
            | DockerCredentialsError::HelperLarge { .. }
            | DockerCredentialsError::HelperSlow { .. }
            | DockerCredentialsError::HelperSyntax { .. } => panic!("{error:?}"),
        };
        assert_eq!(said, kind, "{text:.60}");
        if kind != "name" {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
    let missing = look_up(
        &Credentials::File("/nonexistent/auth.json".into()),
        None,
        "quay.io",
        "a",
    )
    .await;
    assert!(
        matches!(missing, Err(DockerCredentialsError::File { .. })),
        "{missing:?}"
    );
}

#[test]
fn a_helper_is_named_without_a_path_except_in_the_configuration() {
    assert_eq!(
        program("docker-credential-pass").unwrap(),
        "docker-credential-pass"
    );
    assert_eq!(program("ecr-login").unwrap(), "docker-credential-ecr-login");
    assert_eq!(program("/usr/libexec/helper").unwrap(), "/usr/libexec/helper");
    for name in [
        "",
        "docker-credential-",
        "a/b",
        "../a",
        "a b",
        "a;b",
        "a\0b",
        "é",
        &"x".repeat(129),
    ] {
        assert!(
            matches!(program(name), Err(DockerCredentialsError::HelperName(_))),
            "{name}"
        );
    }
}

/// A time that no helper of these tests takes.
const LONG: Duration = Duration::from_secs(60);

/// Runs a shell script as a helper, in which `$0` is the verb.
async fn helper(script: &str, time: Duration) -> Result<Option<Login>, DockerCredentialsError> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    run_helper(command, "helper", "quay.io:5000", time).await
}

#[tokio::test]
async fn the_answer_of_a_helper_is_used() {
    let echo =
        r#"[ "$0" = get ] && read server; printf '{"ServerURL":"x","Username":"%s","Secret":"s"}' "$server""#;
    assert_eq!(
        helper(echo, LONG).await.unwrap(),
        Some(basic("quay.io:5000", "s"))
    );
    let token = r#"printf '{"Username":"<token>","Secret":"s"}'"#;
    assert_eq!(
        helper(token, LONG).await.unwrap(),
        Some(Login::IdentityToken(Secret::new("s".to_owned())))
    );
    let none = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(helper(none, LONG).await.unwrap(), None);
}

#[tokio::test]
async fn a_helper_that_fails_is_an_error_rather_than_anonymous() {
    for (script, kind) in [
        ("echo 'the vault is locked'; exit 1", "answer"),
        (
            "echo 'credentials not found in native keychain, perhaps'; exit 1",
            "answer",
        ),
        ("exit 1", "answer"),
        ("kill -9 $$", "answer"),
        // After a success the output must be an answer.
        ("echo 'credentials not found in native keychain'", "syntax"),
        ("exit 0", "syntax"),
        (r#"printf '{"Username":"u"}'"#, "syntax"),
        (r#"printf '{"Username":"u","Secret":"a","Secret":"b"}'"#, "syntax"),
        (r#"printf '["u","s"]'"#, "syntax"),
        (
            "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
            "large",
        ),
        ("exec sleep 600", "slow"),
    ] {
        // Only the helper that sleeps meets its time limit: the others end, or are stopped at the bound of their output.
        let time = if kind == "slow" {
            Duration::from_millis(100)
        } else {
            LONG
        };
        let error = helper(script, time).await.unwrap_err();
        let said = match &error {
            DockerCredentialsError::HelperAnswer { .. } => "answer",
            DockerCredentialsError::HelperSyntax { .. } => "syntax",
            DockerCredentialsError::HelperLarge { .. } => "large",
            DockerCredentialsError::HelperSlow { .. } => "slow",
            DockerCredentialsError::Auth { .. }
            | DockerCredentialsError::File { .. }
            | DockerCredentialsError::FileLarge { .. }
            | DockerCredentialsError::HelperName(_)
            | DockerCredentialsError::HelperRun { .. }
            | DockerCredentialsError::Syntax { .. } => panic!("{error:?}"),
        };
        assert_eq!(said, kind, "{script}");
    }
    let error = helper("printf 'locked \\033[31m'; exit 1", LONG)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), r"`helper` failed: locked \u{1b}[31m");
}

#[tokio::test]
async fn a_login_changes_the_key_of_the_credentials() {
    let (_folder, path) = file("{}");
    let credentials = Credentials::File(path.clone());
    let before = CredentialsKey::new(&credentials, None).await.unwrap();
    assert_eq!(CredentialsKey::new(&credentials, None).await.unwrap(), before);
    std::fs::write(&path, "{ }").unwrap();
    assert_ne!(CredentialsKey::new(&credentials, None).await.unwrap(), before);
    assert_eq!(
        CredentialsKey::new(&Credentials::Passthrough, None)
            .await
            .unwrap(),
        CredentialsKey::Anonymous
    );
}

#[tokio::test]
async fn a_clients_login_is_used_only_where_credentials_pass_through() {
    let login = basic("user", "hunter2");
    let presented = Presented::Login(login.clone());
    for (credentials, expected) in [
        (Credentials::Passthrough, Some(login)),
        (Credentials::Anonymous, None),
    ] {
        let found = look_up(&credentials, Some(&presented), "registry.test", "app").await;
        assert_eq!(found.unwrap(), expected, "{credentials:?}");
    }
    let other = Presented::Login(basic("user", "hunter3"));
    let key = async |presented| {
        CredentialsKey::new(&Credentials::Passthrough, Some(presented))
            .await
            .unwrap()
    };
    assert_eq!(key(&presented).await, key(&presented).await);
    assert_ne!(key(&presented).await, key(&other).await);
    assert!(!format!("{presented:?}").contains("hunter2"));
}

#[test]
fn secrets_are_not_printed() {
    let login = basic("user", "hunter2");
    assert_eq!(
        format!("{login:?}"),
        r#"Basic { user: "user", password: (not shown) }"#
    );
    let token = Login::IdentityToken(Secret::new("hunter2".to_owned()));
    assert!(!format!("{token:?}").contains("hunter2"));
}
