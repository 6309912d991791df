//! Registries that lie, each in one way, and what the client makes of it.

mod authentication;
mod bounds;
mod places;
mod reading;
mod retries;
mod support;
mod writing;
