//! An error response, in the form that all of Oracle's services share: a status, a code and a sentence.

use serde_json::json;

use super::http::Answer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: &str) -> Self {
        Self {
            status,
            code,
            message: message.to_owned(),
        }
    }

    pub fn invalid(message: &str) -> Self {
        Self::new(400, "InvalidParameter", message)
    }

    pub fn missing(field: &str) -> Self {
        Self::new(400, "MissingParameter", &format!("{field} is required"))
    }

    pub fn not_authenticated() -> Self {
        let message =
            "The required information to complete authentication was not provided or was incorrect.";
        Self::new(401, "NotAuthenticated", message)
    }

    pub fn not_found() -> Self {
        let message = "Authorization failed or requested resource not found.";
        Self::new(404, "NotAuthorizedOrNotFound", message)
    }

    pub fn incorrect_state(message: &str) -> Self {
        Self::new(409, "IncorrectState", message)
    }

    pub fn no_etag_match() -> Self {
        Self::new(412, "NoEtagMatch", "the resource was changed since")
    }

    pub fn internal() -> Self {
        Self::new(500, "InternalServerError", "Internal Server Error.")
    }

    pub fn into_answer(self) -> Answer {
        Answer::json(
            self.status,
            &json!({ "code": self.code, "message": self.message }),
        )
    }
}
