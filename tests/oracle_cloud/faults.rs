//! Faults on demand.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http::{Answer, Manner};
use super::lock::lock;
use super::route::Operation;

/// A fault of one response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The body arrives byte by byte.
    Drip { milliseconds: u64 },
    /// Fields are duplicated: the first value is wrong.
    DuplicateKeys,
    /// The list names the requested page as the next one.
    LoopingPage,
    /// The response is an HTML page with status 200, as of a proxy on the way.
    NotJson,
    /// The body has this many bytes of white space before its end.
    Oversized { bytes: usize },
    /// The connection is reset.
    Reset,
    /// The response is delayed.
    Slow { milliseconds: u64 },
    /// The response is an error with this status.
    Status {
        status: u16,
        /// `retry-after`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The head announces the whole body, and the connection ends after this many bytes of it.
    Truncated { bytes: usize },
    /// The list ignores all parameters except for paging.
    Unfiltered,
    /// Every object has an unknown field.
    UnknownFields,
    /// The list names a next page that does not exist.
    WrongPage,
}

#[derive(Debug)]
struct Rule {
    /// `None` for every operation.
    operation: Option<Operation>,
    fault: Fault,
    /// `None` for all requests.
    times: Option<u64>,
}

/// The faults to come. The first rule for an operation applies until it is used up.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    pub fn add(&self, operation: Option<Operation>, fault: Fault, times: Option<u64>) {
        lock(&self.rules).push(Rule {
            operation,
            fault,
            times,
        });
    }

    pub fn clear(&self) {
        lock(&self.rules).clear();
    }

    pub fn take(&self, operation: Operation) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let at = rules
            .iter()
            .position(|rule| rule.operation.is_none_or(|each| each == operation))?;
        let fault = rules[at].fault.clone();
        match &mut rules[at].times {
            None => {}
            Some(left) if *left > 1 => *left -= 1,
            Some(_last) => drop(rules.remove(at)),
        }
        Some(fault)
    }
}

impl Fault {
    /// Returns the response that replaces the real one.
    pub fn instead(&self) -> Option<Answer> {
        let Self::Status { status, retry_after } = self else {
            return None;
        };
        let code = match status {
            400 => "InvalidParameter",
            401 => "NotAuthenticated",
            404 => "NotAuthorizedOrNotFound",
            409 => "IncorrectState",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalServerError",
        };
        let answer = Answer::json(*status, &json!({ "code": code, "message": "on demand" }));
        Some(match retry_after {
            Some(seconds) => answer.with("retry-after", &seconds.to_string()),
            None => answer,
        })
    }

    /// Returns the delay of the response.
    pub fn delay(&self) -> Duration {
        match self {
            Self::Slow { milliseconds } => Duration::from_millis(*milliseconds),
            _ => Duration::ZERO,
        }
    }

    pub fn manner(&self) -> Manner {
        match self {
            Self::Drip { milliseconds } => Manner::Drip(Duration::from_millis(*milliseconds)),
            Self::Reset => Manner::Reset,
            Self::Truncated { bytes } => Manner::Truncated(*bytes),
            _ => Manner::Whole,
        }
    }

    /// Alters the body of a successful response.
    pub fn spoil(&self, answer: &mut Answer) {
        match self {
            Self::DuplicateKeys => answer.body = duplicated(&answer.body),
            Self::NotJson => {
                answer.body = b"<html><body>Please sign in to the network.</body></html>".to_vec();
                answer.headers.retain(|(name, _)| name != "content-type");
                answer
                    .headers
                    .push(("content-type".to_owned(), "text/html".to_owned()));
            }
            Self::Oversized { bytes } => {
                let last = answer.body.pop();
                answer.body.resize(answer.body.len() + bytes, b' ');
                answer.body.extend(last);
            }
            Self::UnknownFields => {
                if let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body) {
                    extend(&mut value);
                    answer.body = value.to_string().into_bytes();
                }
            }
            _ => {}
        }
    }
}

/// Duplicates the first field of the outermost object, and each field of a record that a verifier reads, with a wrong
/// value first.
fn duplicated(body: &[u8]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for field in ["kmsKeyId", "message", "publicKey", "token"] {
        let found = format!("\"{field}\":");
        text = text.replace(&found, &format!("{found}\"bGllcw==\",{found}"));
    }
    if let Some((first, rest)) = text.split_once(':') {
        let name = first.trim_start_matches('{');
        text = format!("{first}:null,{name}:{rest}");
    }
    text.into_bytes()
}

fn extend(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(extend),
        Value::Object(object) => {
            object.values_mut().for_each(extend);
            object.insert(
                "addedLater".to_owned(),
                json!({ "by": "a release after this one" }),
            );
        }
        _ => {}
    }
}
