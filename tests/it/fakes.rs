//! Tests of the fakes themselves.

mod oracle_cloud;
