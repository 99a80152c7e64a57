//! The in-QEMU test harness.
