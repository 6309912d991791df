//! Lists: compartments, order and pages.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::faults::Fault;
use super::http::{Answer, Request};
use super::refusal::Refusal;
use super::world::World;

/// The parameters of a list.
pub struct Query {
    parameters: Vec<(String, String)>,
}

/// The compartments that a list covers.
pub enum Compartments {
    /// The tenancy and all its compartments.
    All,
    One(String),
}

impl Compartments {
    pub fn holds(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == id,
        }
    }
}

impl Query {
    pub fn from_request(request: &Request) -> Self {
        Self {
            parameters: request.query(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn compartments(&self, world: &World) -> Result<Compartments, Refusal> {
        let id = self
            .get("compartmentId")
            .ok_or_else(|| Refusal::missing("compartmentId"))?;
        if !world.has_compartment(id) {
            return Err(Refusal::not_found());
        }
        match self.get("compartmentIdInSubtree") {
            None | Some("false") => Ok(Compartments::One(id.to_owned())),
            Some("true") if id == world.tenancy.id => Ok(Compartments::All),
            Some("true") => Err(Refusal::invalid(
                "compartmentIdInSubtree may be true for the tenancy alone",
            )),
            Some(_) => Err(Refusal::invalid(
                "compartmentIdInSubtree is neither true nor false",
            )),
        }
    }

    /// Returns whether a repository matches `repositoryName`, which is a name, or a prefix followed by `*`.
    pub fn matches_repository(&self, name: &str) -> bool {
        self.get("repositoryName")
            .is_none_or(|asked| match asked.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => asked == name,
            })
    }

    /// Returns a hash of all parameters but the page's, so that a page token is valid for its own list only.
    fn list(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.parameters {
            if name != "page" && name != "limit" {
                hash.update(format!("{name}={value}\n"));
            }
        }
        hex::encode(hash.finalize())[..16].to_owned()
    }
}

/// Sorts the items, and returns the requested page.
pub fn page(
    mut items: Vec<Value>,
    query: &Query,
    usual: usize,
    fault: Option<&Fault>,
) -> Result<Answer, Refusal> {
    let (field, descends) = match query.get("sortBy") {
        None | Some("TIMECREATED") => ("timeCreated", true),
        Some("DISPLAYNAME") => ("displayName", false),
        Some(_) => return Err(Refusal::invalid("sortBy is neither TIMECREATED nor DISPLAYNAME")),
    };
    let descends = match query.get("sortOrder") {
        None => descends,
        Some("ASC") => false,
        Some("DESC") => true,
        Some(_) => return Err(Refusal::invalid("sortOrder is neither ASC nor DESC")),
    };
    items.sort_by(|one, other| one[field].as_str().cmp(&other[field].as_str()));
    if descends {
        items.reverse();
    }
    let limit = match query.get("limit").map(str::parse::<usize>) {
        None => usual,
        Some(Ok(limit)) if (1..=1000).contains(&limit) => limit,
        Some(_) => return Err(Refusal::invalid("limit is not from 1 to 1000")),
    };
    let list = query.list();
    let start = match query.get("page") {
        None => 0,
        Some(token) => token
            .split_once('.')
            .filter(|(of, _)| *of == list)
            .and_then(|(_, start)| start.parse().ok())
            .ok_or_else(|| Refusal::invalid("page is not a page of this list"))?,
    };
    let end = (start + limit).min(items.len());
    let remaining = items.len() - end;
    let items: Vec<Value> = items.into_iter().skip(start).take(limit).collect();
    let answer = Answer::json(200, &json!({ "items": items, "remainingItemsCount": remaining }));
    let next = match fault {
        Some(Fault::LoopingPage) => Some(format!("{list}.{start}")),
        Some(Fault::WrongPage) => Some("bm8gc3VjaCBwYWdl".to_owned()),
        _ => (remaining > 0).then(|| format!("{list}.{end}")),
    };
    Ok(match next {
        Some(next) => answer.with("opc-next-page", &next),
        None => answer,
    })
}
