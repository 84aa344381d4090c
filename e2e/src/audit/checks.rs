//! The promises, one file each.

mod after_failure;
mod foreign_fields;
mod no_change;
mod one_writer;
mod promoted;
mod routes;
mod weights;

use super::Check;

/// Every check.
pub(super) fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(weights::Weights::default()),
        Box::new(after_failure::AfterFailure::default()),
        Box::new(one_writer::OneWriter::default()),
        Box::new(no_change::NoChange),
        Box::new(foreign_fields::ForeignFields),
        Box::new(promoted::Promoted::default()),
    ]
}
