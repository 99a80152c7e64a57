//! Why a domain is crashed, and the report about it.

use core::fmt;
use paravane_abi::regs::CpuUserRegs;

/// Why a domain cannot go on. Each is the guest's fault; the hypervisor and other domains are unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An exception, event or system call had no usable handler.
    NoHandler {
        /// The address registered, 0 for none.
        handler: u64,
    },
    /// An exception the guest registered no handler for.
    UnhandledException {
        /// The vector.
        vector: u8,
        /// The error code, if the vector has one.
        error_code: Option<u32>,
    },
    /// The stack for a bounce frame lies in the hypervisor's range, or is not canonical.
    BadStack {
        /// The stack pointer.
        sp: u64,
    },
    /// A bounce frame could not be written.
    StackFault {
        /// Where the frame begins.
        sp: u64,
        /// The address that faulted.
        address: u64,
    },
    /// The context of the `iret` hypercall could not be read.
    IretContext {
        /// The address that faulted.
        address: u64,
    },
    /// A return to a program without a base pointer for programs.
    NoUserTable,
    /// No base pointer for the kernel: there are no tables to reach its stack by.
    NoPageTable,
    /// A grant was to be unmapped whose domain is gone, with the page-table entry that mapped it.
    LostGrant {
        /// The domain.
        domain: u16,
        /// The mapping.
        handle: u32,
    },
    /// The guest asked for it (`SHUTDOWN_crash`).
    Requested,
    /// A PC's processor found no way to deliver an exception, nor a double fault.
    TripleFault,
    /// An exception that nothing of the guest's can explain.
    Unexpected {
        /// The vector.
        vector: u8,
        /// The error code.
        error_code: u32,
    },
}

/// Names of the exception vectors.
const EXCEPTIONS: [&str; 22] = [
    "#DE",
    "#DB",
    "NMI",
    "#BP",
    "#OF",
    "#BR",
    "#UD",
    "#NM",
    "#DF",
    "coprocessor overrun",
    "#TS",
    "#NP",
    "#SS",
    "#GP",
    "#PF",
    "reserved",
    "#MF",
    "#AC",
    "#MC",
    "#XM",
    "#VE",
    "#CP",
];

/// A vector's name, such as `#GP`, or `interrupt`.
pub fn vector_name(vector: u8) -> &'static str {
    EXCEPTIONS.get(vector as usize).copied().unwrap_or("interrupt")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::NoHandler { handler: 0 } => write!(f, "no handler registered"),
            Reason::NoHandler { handler } => {
                write!(f, "handler {handler:#x} is not an address of the guest's")
            }
            Reason::UnhandledException { vector, error_code } => {
                write!(f, "unhandled {} (vector {vector})", vector_name(vector))?;
                match error_code {
                    Some(code) => write!(f, ", error code {code:#06x}"),
                    None => Ok(()),
                }
            }
            Reason::BadStack { sp } => write!(f, "stack pointer {sp:#x} is unusable for a bounce frame"),
            Reason::StackFault { sp, address } => {
                write!(f, "bounce frame at {sp:#x} could not be written: fault at {address:#x}")
            }
            Reason::IretContext { address } => write!(f, "iret context could not be read at {address:#x}"),
            Reason::NoUserTable => write!(f, "return to a program without user page tables"),
            Reason::NoPageTable => write!(f, "no page tables to run on"),
            Reason::LostGrant { domain, handle } => {
                write!(
                    f,
                    "grant mapping {handle:#x} has lost its page-table entry, and its domain d{domain} is gone"
                )
            }
            Reason::TripleFault => write!(f, "triple fault: nothing of its own handles its exceptions"),
            Reason::Requested => write!(f, "crash requested by the guest"),
            Reason::Unexpected { vector, error_code } => {
                write!(
                    f,
                    "unexpected {} (vector {vector}), error code {error_code:#06x}",
                    vector_name(vector)
                )
            }
        }
    }
}

/// One level of a page walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkStep {
    /// 4 for the root, 1 for the last.
    pub level: u8,
    /// Index within the table.
    pub index: u16,
    /// The entry.
    pub entry: u64,
    /// Guest frame number of the frame it names, where there is one.
    pub pfn: Option<u64>,
}

/// A walk of the guest's tables.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// The address walked.
    pub address: u64,
    /// The steps, from the root down to where it ended.
    pub steps: &'a [WalkStep],
}

/// All that is known about a crashed vcpu; its `Display` is the report, one fact a line.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The domain.
    pub domain: u16,
    /// The vcpu.
    pub vcpu: u32,
    /// Why.
    pub reason: Reason,
    /// What ran, such as `kernel, ring 1`.
    pub context: &'a str,
    /// Its registers.
    pub regs: &'a CpuUserRegs,
    /// CR0, CR2, CR3 and CR4 as the guest sees them.
    pub control: [u64; 4],
    /// FS base, GS base and the inactive GS base.
    pub bases: [u64; 3],
    /// Bytes of code at RIP, as far as they could be read.
    pub code: &'a [u8],
    /// Words of the stack from RSP upwards, as far as they could be read.
    pub stack: &'a [u64],
    /// Page walks, of the address that faulted first of all.
    pub walks: &'a [Walk<'a>],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "d{}v{} crashed: {}", self.domain, self.vcpu, self.reason)?;
        self.registers(f)?;
        self.code(f)?;
        self.stack(f)?;
        self.walks.iter().try_for_each(|walk| write!(f, "{walk}"))
    }
}

impl Report<'_> {
    fn registers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self.regs;
        writeln!(f, "RIP: {:04x}:{:016x}  ({})", r.cs, r.rip, self.context)?;
        writeln!(f, "RSP: {:04x}:{:016x}  RFLAGS: {:08x} {}", r.ss, r.rsp, r.rflags, Flags(r.rflags))?;
        let general = [
            ("rax", r.rax),
            ("rbx", r.rbx),
            ("rcx", r.rcx),
            ("rdx", r.rdx),
            ("rsi", r.rsi),
            ("rdi", r.rdi),
            ("rbp", r.rbp),
            ("r8", r.r8),
            ("r9", r.r9),
            ("r10", r.r10),
            ("r11", r.r11),
            ("r12", r.r12),
            ("r13", r.r13),
            ("r14", r.r14),
            ("r15", r.r15),
        ];
        for row in general.chunks(3) {
            for (n, (name, value)) in row.iter().enumerate() {
                let gap = if n == 0 { "" } else { "  " };
                write!(f, "{gap}{name:>3}: {value:016x}")?;
            }
            writeln!(f)?;
        }
        let [cr0, cr2, cr3, cr4] = self.control;
        writeln!(f, "cr0: {cr0:016x}  cr2: {cr2:016x}\ncr3: {cr3:016x}  cr4: {cr4:016x}")?;
        let [fs, gs, inactive] = self.bases;
        writeln!(f, "fsb: {fs:016x}  gsb: {gs:016x}  inactive gsb: {inactive:016x}")?;
        writeln!(
            f,
            "ds: {:04x}  es: {:04x}  fs: {:04x}  gs: {:04x}  entry vector: {} ({:#x}), error code: {:#x}",
            r.ds,
            r.es,
            r.fs,
            r.gs,
            vector_name(r.entry_vector as u8),
            r.entry_vector,
            r.error_code
        )
    }

    fn code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code at rip:")?;
        if self.code.is_empty() {
            return writeln!(f, " cannot be read");
        }
        self.code.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
        writeln!(f)
    }

    fn stack(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stack from rsp:")?;
        if self.stack.is_empty() {
            return writeln!(f, " cannot be read");
        }
        for (n, word) in self.stack.iter().enumerate() {
            let gap = if n % 4 == 0 { "\n  " } else { " " };
            write!(f, "{gap}{word:016x}")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "page walk of {:016x}:", self.address)?;
        for step in self.steps {
            write!(f, "  L{}[{:03x}] = {:016x}", step.level, step.index, step.entry)?;
            match (step.entry & 1, step.pfn) {
                (0, _) => write!(f, " not present")?,
                (_, Some(pfn)) => write!(f, " {}pfn {pfn:#x}", Permissions(step.entry))?,
                (_, None) => write!(f, " {}not the guest's frame", Permissions(step.entry))?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// RFLAGS by name.
struct Flags(u64);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 13] = [
            (0, "CF"),
            (2, "PF"),
            (4, "AF"),
            (6, "ZF"),
            (7, "SF"),
            (8, "TF"),
            (9, "IF"),
            (10, "DF"),
            (11, "OF"),
            (14, "NT"),
            (16, "RF"),
            (18, "AC"),
            (21, "ID"),
        ];
        let mut set = NAMES.iter().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        let Some((_, first)) = set.next() else { return f.write_str("(none)") };
        write!(f, "({first}")?;
        set.try_for_each(|(_, name)| write!(f, " {name}"))?;
        f.write_str(")")
    }
}

/// A page-table entry's permissions.
struct Permissions(u64);

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write = if self.0 >> 1 & 1 == 1 { "writable" } else { "read-only" };
        let user = if self.0 >> 2 & 1 == 1 { "user" } else { "supervisor" };
        let execute = if self.0 >> 63 == 1 { ", no-execute" } else { "" };
        write!(f, "{write}, {user}{execute}, ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    fn report(code: &[u8], stack: &[u64], walks: &[Walk<'_>]) -> String {
        let regs = CpuUserRegs {
            rip: 0xffff_ffff_8100_0123,
            cs: 0xe069,
            rsp: 0xffff_c900_0000_1000,
            ss: 0xe071,
            rflags: 0x10246,
            rax: 0xabc,
            r15: 0xf,
            entry_vector: 14,
            error_code: 2,
            ..CpuUserRegs::default()
        };
        let reason = Reason::UnhandledException { vector: 14, error_code: Some(2) };
        Report {
            domain: 3,
            vcpu: 1,
            reason,
            context: "kernel, ring 1",
            regs: &regs,
            control: [0x8005_0033, 0xdead_0000, 0x1000, 0x660],
            bases: [1, 2, 3],
            code,
            stack,
            walks,
        }
        .to_string()
    }

    #[test]
    fn a_report_has_every_part() {
        let steps = [
            WalkStep { level: 4, index: 0x1ff, entry: 0x1067, pfn: Some(0x10) },
            WalkStep { level: 3, index: 0, entry: 0x8000_0000_0000_2061, pfn: None },
            WalkStep { level: 2, index: 5, entry: 0, pfn: None },
        ];
        let text = report(&[0x0f, 0x0b], &[1, 2, 3, 4, 5], &[Walk { address: 0xdead_0000, steps: &steps }]);
        for part in [
            "d3v1 crashed: unhandled #PF (vector 14), error code 0x0002\n",
            "RIP: e069:ffffffff81000123  (kernel, ring 1)\n",
            "RFLAGS: 00010246 (PF ZF IF RF)\n",
            "rax: 0000000000000abc",
            "r15: 000000000000000f",
            "cr2: 00000000dead0000",
            "code at rip: 0f 0b\n",
            "\n  0000000000000001 0000000000000002 0000000000000003 0000000000000004\n  0000000000000005\n",
            "page walk of 00000000dead0000:\n",
            "  L4[1ff] = 0000000000001067 writable, user, pfn 0x10\n",
            "  L3[000] = 8000000000002061 read-only, supervisor, no-execute, not the guest's frame\n",
            "  L2[005] = 0000000000000000 not present\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing from\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 110 && !line.ends_with(' ')));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let text = report(&[], &[], &[]);
        assert!(text.contains("code at rip: cannot be read\n"));
        assert!(text.contains("stack from rsp: cannot be read\n"));
        assert!(!text.contains("page walk"));
    }

    #[test]
    fn every_reason_reads_as_a_sentence() {
        for (reason, text) in [
            (Reason::NoHandler { handler: 0 }, "no handler registered"),
            (Reason::NoHandler { handler: 16 }, "handler 0x10 is not an address of the guest's"),
            (Reason::UnhandledException { vector: 6, error_code: None }, "unhandled #UD (vector 6)"),
            (Reason::BadStack { sp: 8 }, "stack pointer 0x8 is unusable for a bounce frame"),
            (
                Reason::StackFault { sp: 8, address: 16 },
                "bounce frame at 0x8 could not be written: fault at 0x10",
            ),
            (Reason::IretContext { address: 8 }, "iret context could not be read at 0x8"),
            (Reason::NoUserTable, "return to a program without user page tables"),
            (Reason::NoPageTable, "no page tables to run on"),
            (
                Reason::LostGrant { domain: 3, handle: 17 },
                "grant mapping 0x11 has lost its page-table entry, and its domain d3 is gone",
            ),
            (Reason::Requested, "crash requested by the guest"),
            (
                Reason::Unexpected { vector: 200, error_code: 0 },
                "unexpected interrupt (vector 200), error code 0x0000",
            ),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }
}
