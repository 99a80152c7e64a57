//! What happens during one operation, crossing by crossing.

pub mod lanes;
pub mod log;
pub mod observe;
pub mod replay;
pub mod symbols;
pub mod timeline;
