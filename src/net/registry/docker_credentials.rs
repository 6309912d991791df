//! The node's own credentials: Docker's `config.json`, Podman's `auth.json`, and `docker-credential-*` programs
//! (docker/docker-credential-helpers; containers-auth.json(5)).
//!
//! What cannot be read is an error and never "anonymous": a pull that was meant to show credentials fails and says why.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Credentials, Presented};
use crate::base::printable::excerpt;
use crate::oci::json::{self, JsonError, Object};

/// Largest credentials file that is read.
const FILE_BYTES: u64 = 1024 * 1024;

/// Most bytes that a helper may print. Tokens of clouds are a few KiB.
const HELPER_BYTES: u64 = 64 * 1024;

/// How long a helper may take. Those of clouds make a request of their own.
const HELPER_TIME: Duration = Duration::from_secs(10);

/// What helpers print, with exit code 1, when they know no credentials (docker-credential-helpers,
/// `credentials/error.go`): the one failure that means "anonymous".
const HELPER_NONE: &str = "credentials not found in native keychain";

/// The user name under which helpers give an identity token.
const TOKEN_USER: &str = "<token>";

/// The key of Docker Hub in Docker's file and in helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// This text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(not shown)")
    }
}

/// What can be shown to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that a token endpoint takes for another (OAuth 2 `refresh_token`).
    IdentityToken(Secret),
}

/// Under which credentials a token was got: two different ones never share a token. Clients whose own `Authorization`
/// passes through have no place here: for them we get no tokens at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CredentialsKey {
    Anonymous,
    /// A client's own login, as [`Presented::hash`] tells it apart.
    Client([u8; 32]),
    /// One state of one file: a login that writes it makes another identity.
    File {
        path: PathBuf,
        length: u64,
        modified: SystemTime,
    },
    Helper(String),
}

impl CredentialsKey {
    /// Under which identity these credentials are shown now.
    pub(super) async fn of(
        credentials: &Credentials,
        presented: Option<&Presented>,
    ) -> Result<Self, DockerCredentialsError> {
        match credentials {
            Credentials::Anonymous => Ok(Self::Anonymous),
            Credentials::Passthrough => Ok(match presented {
                Some(presented @ Presented::Login(_)) => Self::Client(presented.hash()),
                Some(Presented::Header(_)) | None => Self::Anonymous,
            }),
            Credentials::File(path) => {
                let unreadable = |source| DockerCredentialsError::File {
                    path: path.clone(),
                    source,
                };
                let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
                let modified = metadata.modified().map_err(unreadable)?;
                Ok(Self::File {
                    path: path.clone(),
                    length: metadata.len(),
                    modified,
                })
            }
            Credentials::Helper(name) => Ok(Self::Helper(name.clone())),
        }
    }
}

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum DockerCredentialsError {
    #[error("`auth` of `{key}` in `{}` is not base64 of `user:password`", path.display())]
    Auth { path: PathBuf, key: String },
    #[error("`{}` cannot be read", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than {FILE_BYTES} bytes", path.display())]
    FileLarge { path: PathBuf },
    #[error("`{program}` answered: {message}")]
    HelperAnswer { program: String, message: String },
    #[error("`{program}` printed more than {HELPER_BYTES} bytes")]
    HelperLarge { program: String },
    #[error("`{0}` is not the name of a credential helper")]
    HelperName(String),
    #[error("`{program}` cannot be run")]
    HelperRun { program: String, source: std::io::Error },
    #[error("`{program}` gave no answer within {} s", HELPER_TIME.as_secs())]
    HelperSlow { program: String },
    #[error("what `{program}` printed is not an answer: {why}")]
    HelperSyntax { program: String, why: &'static str },
    #[error("`{}` is not a credentials file: {why}", path.display())]
    Syntax { path: PathBuf, why: &'static str },
}

/// Looks up what is known for a server (host, and port where one is written; `docker.io` for Docker Hub) and a
/// repository there. None where nothing is known: then the registry is asked without credentials.
pub(super) async fn look_up(
    credentials: &Credentials,
    presented: Option<&Presented>,
    server: &str,
    repository: &str,
) -> Result<Option<Login>, DockerCredentialsError> {
    match credentials {
        Credentials::Anonymous => Ok(None),
        Credentials::Passthrough => Ok(match presented {
            Some(Presented::Login(login)) => Some(login.clone()),
            Some(Presented::Header(_)) | None => None,
        }),
        Credentials::File(path) => from_file(path, server, repository).await,
        Credentials::Helper(name) => from_helper(&program(name)?, server).await,
    }
}

async fn from_file(
    path: &Path,
    server: &str,
    repository: &str,
) -> Result<Option<Login>, DockerCredentialsError> {
    let Object(file): Object<DockerConfigFile> =
        json::parse(&read(path).await?).map_err(|error| DockerCredentialsError::Syntax {
            path: path.to_owned(),
            why: without_values(&error),
        })?;
    // Docker's order: the helper of this server, the store of all, the file itself.
    let helper = file
        .helpers
        .iter()
        .find(|(key, _)| normal(key) == server)
        .map(|(_, name)| name);
    if let Some(name) = helper.or(file.store.as_ref()).filter(|name| !name.is_empty()) {
        let login = from_helper(&program_of_file(name)?, server).await?;
        if login.is_some() {
            return Ok(login);
        }
    }
    // containers-auth.json(5): the longest key that is the repository or a part of its path speaks.
    let mut place = format!("{server}/{repository}");
    loop {
        for (key, entry) in file.auths.iter().filter(|(key, _)| normal(key) == place) {
            if let Some(login) = entry.login(path, key)? {
                return Ok(Some(login));
            }
        }
        match place.rfind('/') {
            Some(slash) => place.truncate(slash),
            None => return Ok(None),
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, DockerCredentialsError> {
    let unreadable = |source| DockerCredentialsError::File {
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    let length = file
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(unreadable)?;
    if u64::try_from(length).is_ok_and(|length| length <= FILE_BYTES) {
        Ok(bytes)
    } else {
        Err(DockerCredentialsError::FileLarge {
            path: path.to_owned(),
        })
    }
}

/// Docker's format, as far as we read it. Other keys (`HttpHeaders`, `plugins`) are the docker command's own.
#[derive(serde::Deserialize)]
struct DockerConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(serde::Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    username: String,
}

impl AuthEntry {
    /// None for an empty entry: Docker leaves one where the secret is in a store.
    fn login(&self, path: &Path, key: &str) -> Result<Option<Login>, DockerCredentialsError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::IdentityToken(Secret::new(
                self.identitytoken.clone(),
            ))));
        }
        if !self.auth.is_empty() {
            let wrong = || DockerCredentialsError::Auth {
                path: path.to_owned(),
                key: key.to_owned(),
            };
            let decoded = STANDARD
                .decode(&self.auth)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or_else(wrong)?;
            let (user, password) = decoded.split_once(':').ok_or_else(wrong)?;
            // Old Docker versions padded the password with zero bytes.
            let password = Secret::new(password.trim_matches('\0').to_owned());
            return Ok(Some(Login::Basic {
                user: user.to_owned(),
                password,
            }));
        }
        if self.username.is_empty() {
            return Ok(None);
        }
        Ok(Some(Login::Basic {
            user: self.username.clone(),
            password: Secret::new(self.password.clone()),
        }))
    }
}

/// A key of the file as a server or a path below one: without a scheme, without the version that Docker appends, and
/// with Docker Hub's one name.
fn normal(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    match bare.split_once('/') {
        Some(("index.docker.io", path)) => format!("docker.io/{path}"),
        None if bare == "index.docker.io" => "docker.io".to_owned(),
        Some(_) | None => bare.to_owned(),
    }
}

/// The program that the configuration names: by absolute path, or by name with or without its prefix.
fn program(name: &str) -> Result<String, DockerCredentialsError> {
    if name.starts_with('/') {
        return Ok(name.to_owned());
    }
    program_of_file(name.strip_prefix("docker-credential-").unwrap_or(name))
}

/// The program that a credentials file names. Never a path: a file that someone else may write names no program
/// outside `PATH`.
fn program_of_file(name: &str) -> Result<String, DockerCredentialsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_plain) {
        return Err(DockerCredentialsError::HelperName(excerpt(name)));
    }
    Ok(format!("docker-credential-{name}"))
}

async fn from_helper(program: &str, server: &str) -> Result<Option<Login>, DockerCredentialsError> {
    if server == "docker.io" {
        // `docker login` stores Docker Hub under its old URL, `podman login` under its name.
        let login = ask(Command::new(program), program, HUB_KEY, HELPER_TIME).await?;
        if login.is_some() {
            return Ok(login);
        }
    }
    ask(Command::new(program), program, server, HELPER_TIME).await
}

/// Runs `<command> get` with the server on standard input. No shell; killed when it takes too long, or when the pull
/// that waits for it ends.
async fn ask(
    mut command: Command,
    program: &str,
    server: &str,
    time: Duration,
) -> Result<Option<Login>, DockerCredentialsError> {
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(time, talk(command, program, server)).await {
        Ok(answer) => answer,
        Err(tokio::time::error::Elapsed { .. }) => Err(DockerCredentialsError::HelperSlow {
            program: program.to_owned(),
        }),
    }
}

async fn talk(
    mut command: Command,
    program: &str,
    server: &str,
) -> Result<Option<Login>, DockerCredentialsError> {
    let failed = |source| DockerCredentialsError::HelperRun {
        program: program.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()).await {
            Ok(()) => {}
            // A helper that does not read its input still answers, or fails in its own words.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(HELPER_BYTES + 1)
            .read_to_end(&mut printed)
            .await
            .map_err(failed)?;
    }
    if u64::try_from(printed.len()).is_ok_and(|length| length > HELPER_BYTES) {
        return Err(DockerCredentialsError::HelperLarge {
            program: program.to_owned(),
        });
    }
    if !child.wait().await.map_err(failed)?.success() {
        let message = String::from_utf8_lossy(&printed);
        if message.trim() == HELPER_NONE {
            return Ok(None);
        }
        return Err(DockerCredentialsError::HelperAnswer {
            program: program.to_owned(),
            message: excerpt(message.trim()),
        });
    }
    let Object(answer): Object<HelperAnswer> =
        json::parse(&printed).map_err(|error| DockerCredentialsError::HelperSyntax {
            program: program.to_owned(),
            why: without_values(&error),
        })?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Login::IdentityToken(secret),
        _ => Login::Basic {
            user: answer.username,
            password: secret,
        },
    }))
}

/// What is wrong with a document that holds secrets. The parser's own words quote what it met.
pub(super) fn without_values(error: &JsonError) -> &'static str {
    match error {
        JsonError::DuplicateKey(_) => "a key stands twice in one object",
        JsonError::Syntax(_) => "it is not JSON of the expected form",
        JsonError::OtherSpelling { .. } => "a key is spelled in another case",
        JsonError::TooDeep => "it is nested too deeply",
        JsonError::TooManyKeys { .. } => "an object has too many keys",
    }
}

/// What a helper prints for `get`.
#[derive(serde::Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[cfg(test)]
mod tests;
