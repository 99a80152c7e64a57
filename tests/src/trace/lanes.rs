//! Who runs where on a machine, and what brought the processor there.

use super::log::Exception;
use super::timeline::Lane;
use crate::compare::operations::Machine;
use paravane_abi::hypercall::Hypercall;

/// Addresses from here up are a kernel's or a hypervisor's.
const UPPER_HALF: u64 = 1 << 63;

/// Who runs at an address in a ring.
#[must_use]
pub const fn lane(machine: Machine, ring: u32, address: u64) -> Lane {
    match (machine, ring) {
        (Machine::Native, 0) => Lane::Kernel,
        (_, 0) => Lane::Hypervisor,
        (Machine::PvRing1 | Machine::Trap, 1) => Lane::Kernel,
        // Where the kernel shares ring 3 with its programs, only the address tells them apart.
        (Machine::PvRing3 | Machine::Xen, _) if address >= UPPER_HALF => Lane::Kernel,
        _ => Lane::User,
    }
}

/// Exceptions by vector (SDM vol. 3, table 6-1).
const EXCEPTIONS: [&str; 22] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS", "#GP", "#PF",
    "#15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
];
/// The vector by which a kernel in ring 1 makes hypercalls.
const HYPERCALL: u8 = 0x82;
/// Page-fault error code (SDM vol. 3, section 4.7): the access was a write; a fetch.
const PF_WRITE: u32 = 1 << 1;
const PF_FETCH: u32 = 1 << 4;

/// Why an exception led somewhere, and what a reader wants to know beyond it.
#[must_use]
pub fn of_exception(
    exception: &Exception,
    hardware: bool,
    instruction: &str,
    from: Lane,
) -> (String, String) {
    let vector = exception.vector;
    if hardware {
        return ("interrupt".to_owned(), format!("vector {vector:#x}"));
    }
    if exception.software && vector == HYPERCALL && from == Lane::Kernel {
        return (hypercall(exception.rax), String::new());
    }
    let name = match EXCEPTIONS.get(usize::from(vector)) {
        Some(name) => (*name).to_owned(),
        None => format!("int {vector:#x}"),
    };
    let detail = if vector == 14 {
        let access = match exception.error {
            error if error & PF_FETCH != 0 => "fetch",
            error if error & PF_WRITE != 0 => "write",
            _ => "read",
        };
        let by = if instruction.is_empty() { String::new() } else { format!(" by {instruction}") };
        format!("{access} of {:#x}{by}", exception.fault_address)
    } else {
        instruction.to_owned()
    };
    (name, detail)
}

/// Bytes of a stub in the hypercall page (`xen/include/public/arch-x86/xen.h`).
const STUB: u64 = 32;

/// Why an instruction led elsewhere without an exception.
#[must_use]
pub fn of_instruction(instruction: &str, address: u64, from: Lane) -> String {
    let word = instruction.split_whitespace().next().unwrap_or("?");
    if word == "syscall" && from == Lane::Kernel {
        return hypercall(address % 4096 / STUB);
    }
    word.to_owned()
}

fn hypercall(number: u64) -> String {
    match Hypercall::from_number(number) {
        Some(call) => format!("hypercall {}", call.name()),
        None => format!("hypercall {number}"),
    }
}

/// Whether an instruction goes to another ring, or may: what follows it is another segment.
#[must_use]
pub fn transfers(instruction: &str) -> bool {
    let word = instruction.split_whitespace().next().unwrap_or("");
    matches!(
        word,
        "iretq" | "sysretq" | "syscall" | "sysenter" | "sysexit" | "lretq" | "lcall" | "ljmp" | "iretl"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_rings_or_halves() {
        let kernel = 0xffff_ffff_8020_0000;
        assert_eq!(lane(Machine::Native, 0, kernel), Lane::Kernel);
        assert_eq!(lane(Machine::Trap, 0, kernel), Lane::Hypervisor);
        assert_eq!(lane(Machine::Trap, 1, kernel), Lane::Kernel);
        assert_eq!(lane(Machine::Xen, 3, kernel), Lane::Kernel);
        for machine in Machine::ALL {
            assert_eq!(lane(machine, 3, 0x40_0000), Lane::User);
        }
    }

    #[test]
    fn reasons_are_named() {
        let mut exception =
            Exception { vector: 13, error: 0, software: false, address: 0, fault_address: 0, rax: 1 };
        let reason = |exception, hardware| of_exception(&exception, hardware, "cli", Lane::Kernel);
        assert_eq!(reason(exception, false), ("#GP".into(), "cli".into()));
        exception.vector = 0x20;
        assert_eq!(reason(exception, true), ("interrupt".into(), "vector 0x20".into()));
        (exception.vector, exception.software) = (0x82, true);
        assert_eq!(reason(exception, false).0, "hypercall mmu_update");
        exception.vector = 0x80;
        assert_eq!(reason(exception, false).0, "int 0x80");
        (exception.vector, exception.error, exception.fault_address) = (14, 3, 0x1000);
        assert_eq!(reason(exception, false), ("#PF".into(), "write of 0x1000 by cli".into()));
        assert_eq!(of_instruction("syscall", 0x1000 + 23 * 32 + 7, Lane::Kernel), "hypercall iret");
        assert_eq!(of_instruction("syscall", 0x1000, Lane::User), "syscall");
        assert_eq!(of_instruction("iretq", 0, Lane::Hypervisor), "iretq");
        assert!(transfers("iretq") && !transfers("retq"));
    }
}
