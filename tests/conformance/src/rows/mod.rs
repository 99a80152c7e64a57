//! The table of hypercalls (`paravane_abi::hypercall_table!`): a file for each row, which says what the ABI promises and
//! where, and what its cases provoke.

mod event_channel_op;
mod event_channel_op_compat;
pub mod pointers;
mod sched_op;
mod set_trap_table;

use crate::case::Row;

/// The rows of each call, in the order of the table.
pub const ALL: &[&[&Row]] =
    &[&[&set_trap_table::ROW], &[&event_channel_op_compat::ROW], sched_op::ROWS, event_channel_op::ROWS];
