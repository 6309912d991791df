//! A source that returns the records that a test has put into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use pullgate::base::reason::Reason;
use pullgate::pull::find::{FindError, Query, Source, SourceError};
use pullgate::signature::{Candidate, Format, Location, Locator, SourceName};

#[derive(Debug)]
pub struct ToySource {
    name: SourceName,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Records(&'static dyn Format, Vec<String>),
    Failure,
    Silence,
    Witness(Arc<AtomicBool>),
}

#[derive(Debug, thiserror::Error)]
#[error("the toy is broken")]
struct Broken;

impl SourceError for Broken {
    fn reason(&self) -> Reason {
        Reason::SourceUnreachable
    }
}

pub fn giving(name: &'static str, format: &'static dyn Format, records: &[String]) -> ToySource {
    ToySource {
        name: SourceName(name),
        answer: Answer::Records(format, records.to_vec()),
    }
}

pub fn failing(name: &'static str) -> ToySource {
    ToySource {
        name: SourceName(name),
        answer: Answer::Failure,
    }
}

pub fn hanging(name: &'static str) -> ToySource {
    ToySource {
        name: SourceName(name),
        answer: Answer::Silence,
    }
}

/// Has no records, and notes that it was asked.
pub fn witness(name: &'static str, was_asked: &Arc<AtomicBool>) -> ToySource {
    ToySource {
        name: SourceName(name),
        answer: Answer::Witness(Arc::clone(was_asked)),
    }
}

impl Source for ToySource {
    fn name(&self) -> SourceName {
        self.name
    }

    fn serves(&self, location: &Location) -> bool {
        matches!(location, Location::Service { name: "toy" })
    }

    fn find<'a>(&'a self, _query: Query<'a>) -> BoxStream<'a, Result<Candidate, FindError>> {
        match &self.answer {
            Answer::Records(format, records) => {
                let records = records.iter().enumerate().map(|(number, record)| {
                    Ok(Candidate {
                        format: *format,
                        source: self.name,
                        locator: Locator::Service(format!("{}/{number}", self.name)),
                        unverified_media_type: None,
                        unverified: record.clone().into(),
                    })
                });
                stream::iter(records).boxed()
            }
            Answer::Failure => stream::iter([Err(Broken.into())]).boxed(),
            Answer::Silence => stream::pending().boxed(),
            Answer::Witness(was_asked) => stream::once(async { was_asked.store(true, Ordering::Relaxed) })
                .flat_map(|()| stream::empty())
                .boxed(),
        }
    }
}
