//! What happens during one operation, crossing by crossing.

pub mod timeline;
