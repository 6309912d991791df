//! The client against registries that misbehave, each in one way.

mod authentication;
mod blobs;
mod bounds;
mod destinations;
mod manifests;
mod mirrors;
mod referrers;
mod retries;
mod support;
mod tokens;
mod writing;
