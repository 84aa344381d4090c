//! Where numbers come from; one source a file.

pub(crate) mod builtin;
