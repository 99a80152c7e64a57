//! grant_table_op: every operation, every refusal with its code, and what a refusal leaves.

mod table;
