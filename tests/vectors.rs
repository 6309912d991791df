//! Tests the formats and the signature schemes against vectors from outside: Oracle's records and Wycheproof.

#[path = "vectors/oracle_records.rs"]
mod oracle_records;
#[path = "vectors/wycheproof.rs"]
mod wycheproof;
