mod batches;
mod mmuext;
mod teardown;
mod trapped;
mod update;
mod validate;
pub(crate) mod world;
