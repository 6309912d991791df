//! The node's own credentials: Docker's `config.json`, Podman's `auth.json`, and `docker-credential-*` programs
//! (docker/docker-credential-helpers; containers-auth.json(5)).
//!
//! A failure to read them is an error and never means "anonymous": a pull that was configured to show credentials fails
//! and says why.
//!
//! Hand-written: the crate `docker_credential` matches servers without the paths of containers-auth.json(5), ignores
//! `identitytoken`, takes every failure of a helper for one kind, and runs helpers on the calling thread without a bound on
//! time or output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::access::{DockerAuthError, Login, Presented};
use super::config::Credentials;
use crate::base::limits::CREDENTIALS_BYTES;
use crate::base::printable::excerpt;
use crate::base::secret::Secret;
use crate::oci::json::{self, JsonError, Object};

/// Most bytes that a helper may print. Tokens of clouds take a few KiB.
const HELPER_BYTES: u64 = 64 * 1024;

/// The time that a helper may take. The helpers of clouds send a request of their own.
const HELPER_TIME: Duration = Duration::from_secs(10);

/// The output of a helper, with exit code 1, that has no credentials for a server (docker-credential-helpers,
/// `credentials/error.go`): the only failure that means "anonymous".
const HELPER_NONE: &str = "credentials not found in native keychain";

/// The user name under which helpers return an identity token.
const TOKEN_USER: &str = "<token>";

/// The key of Docker Hub in Docker's file and in helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The credentials for which a token was granted: different credentials never share a token. A client whose own
/// `Authorization` passes through needs no variant, because pullgate requests no token for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CredentialsKey {
    Anonymous,
    /// A client's own login, by [`Presented::hash`].
    Client([u8; 32]),
    /// One state of one file: a login that writes the file leads to another key.
    File {
        path: PathBuf,
        length: u64,
        modified: SystemTime,
    },
    Helper(String),
}

impl CredentialsKey {
    /// Returns the key of these credentials as they are now.
    pub(super) async fn new(
        credentials: &Credentials,
        presented: Option<&Presented>,
    ) -> Result<Self, DockerCredentialsError> {
        match credentials {
            Credentials::Anonymous => Ok(Self::Anonymous),
            Credentials::Passthrough => Ok(match presented {
                Some(login @ Presented::Login(_)) => Self::Client(login.hash()),
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

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DockerCredentialsError {
    #[error("could not read the entry of `{key}` in `{}`", path.display())]
    Auth {
        path: PathBuf,
        key: String,
        source: DockerAuthError,
    },
    #[error("could not read `{}`", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than {CREDENTIALS_BYTES} bytes", path.display())]
    FileLarge { path: PathBuf },
    #[error("`{program}` failed: {message}")]
    HelperAnswer { program: String, message: String },
    #[error("`{program}` printed more than {HELPER_BYTES} bytes")]
    HelperLarge { program: String },
    #[error("`{0}` is not the name of a credential helper")]
    HelperName(String),
    #[error("could not run `{program}`")]
    HelperRun { program: String, source: std::io::Error },
    #[error("`{program}` did not answer within {} s", HELPER_TIME.as_secs())]
    HelperSlow { program: String },
    #[error("the output of `{program}` is not an answer: {why}")]
    HelperSyntax { program: String, why: &'static str },
    #[error("`{}` is not a credentials file: {why}", path.display())]
    Syntax { path: PathBuf, why: &'static str },
}

/// Looks up the login for a server (host, and port where the name has one; `docker.io` for Docker Hub) and a repository
/// there; `None` where no login is stored, so that the registry is asked without credentials.
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
    // Docker's order: the helper of this server, the store of all servers, the file itself.
    let helper = file
        .helpers
        .iter()
        .find(|(key, _)| normalised_key(key) == server)
        .map(|(_, name)| name);
    if let Some(name) = helper.or(file.store.as_ref()).filter(|name| !name.is_empty()) {
        let login = from_helper(&program_of_file(name)?, server).await?;
        if login.is_some() {
            return Ok(login);
        }
    }
    // containers-auth.json(5): the longest key that is the repository or a part of its path counts.
    let mut place = format!("{server}/{repository}");
    loop {
        for (key, entry) in file.auths.iter().filter(|(key, _)| normalised_key(key) == place) {
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
    let one_more = u64::try_from(CREDENTIALS_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    let length = file
        .take(one_more)
        .read_to_end(&mut bytes)
        .await
        .map_err(unreadable)?;
    if length <= CREDENTIALS_BYTES {
        Ok(bytes)
    } else {
        Err(DockerCredentialsError::FileLarge {
            path: path.to_owned(),
        })
    }
}

/// Docker's format, as far as it is read. Other keys (`HttpHeaders`, `plugins`) concern the docker command only.
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
    /// Returns the login of an entry; `None` for an empty entry, which Docker leaves where the secret is in a store.
    fn login(&self, path: &Path, key: &str) -> Result<Option<Login>, DockerCredentialsError> {
        if !self.identitytoken.is_empty() {
            let token = Secret::new(self.identitytoken.clone());
            return Ok(Some(Login::IdentityToken(token)));
        }
        if !self.auth.is_empty() {
            let login = Login::from_docker_auth(&self.auth);
            return login.map(Some).map_err(|source| DockerCredentialsError::Auth {
                path: path.to_owned(),
                key: key.to_owned(),
                source,
            });
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

/// Reduces a key of the file to a server or a path below one: without a scheme, without the version that Docker appends,
/// and with one name for Docker Hub.
fn normalised_key(key: &str) -> String {
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

/// Returns the program that the configuration names: by absolute path, or by name with or without its prefix.
fn program(name: &str) -> Result<String, DockerCredentialsError> {
    if name.starts_with('/') {
        return Ok(name.to_owned());
    }
    program_of_file(name.strip_prefix("docker-credential-").unwrap_or(name))
}

/// Returns the program that a credentials file names. It is never a path: another user may be able to write the file, and
/// must not choose a program outside `PATH`.
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
        let login = run_helper(Command::new(program), program, HUB_KEY, HELPER_TIME).await?;
        if login.is_some() {
            return Ok(login);
        }
    }
    run_helper(Command::new(program), program, server, HELPER_TIME).await
}

/// Runs `<command> get` with the server on standard input, without a shell. The program is killed when it takes too long,
/// or when the pull that waits for it ends.
async fn run_helper(
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
    match tokio::time::timeout(time, talk_to_helper(command, program, server)).await {
        Ok(answer) => answer,
        Err(tokio::time::error::Elapsed { .. }) => Err(DockerCredentialsError::HelperSlow {
            program: program.to_owned(),
        }),
    }
}

async fn talk_to_helper(
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
            // A helper that does not read its input still answers, or reports a failure of its own.
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

/// Describes an error in a document that holds secrets. The parser's own message would quote the document.
pub(super) fn without_values(error: &JsonError) -> &'static str {
    match error {
        JsonError::DuplicateKey(_) => "an object has one key twice",
        JsonError::Syntax(_) => "it is not JSON of the expected form",
        JsonError::OtherSpelling { .. } => "a key differs in case from the expected one",
        JsonError::TooDeep => "it is nested too deeply",
        JsonError::TooManyKeys { .. } => "an object has too many keys",
    }
}

/// The output of a helper for `get`.
#[derive(serde::Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[cfg(test)]
mod tests;
