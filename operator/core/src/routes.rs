//! Rules of a route.
