//! Paravane's extension of the PV ABI: a 64-bit guest kernel in ring 1, its programs in ring 3.
//!
//! Xen pushes a 64-bit PV kernel to ring 3, where it shares a privilege level with its own programs: each guest system
//! call then costs a hypervisor entry and two page-table switches. Under this extension the guest kernel runs in
//! ring 1. Paging lets ring 1 reach supervisor pages, so kernel pages are supervisor pages and one L4 serves kernel and
//! programs; the hypervisor instead leaves the guest's address space, but for a small read-only entry area.
//!
//! Nothing here exists in Xen. A kernel that can do both finds out where it is by a hypervisor
//! CPUID leaf, and offers itself by an ELF note.
//!
//! # How it is found
//!
//! - The kernel's ELF file carries a note of owner [`NOTE_OWNER`], type [`NOTE_TYPE_MODES`], whose description is a u64
//!   of `MODE_*` bits. Without the note a kernel runs in ring 3, as under Xen.
//! - `cpuid` behind Xen's forced-emulation prefix, leaf [`CPUID_LEAF_SIGNATURE`], answers with [`SIGNATURE`];
//!   leaf [`CPUID_LEAF_VERSION`] has the interface version, [`INTERFACE_VERSION`], in EAX.
//!
//! # Start of day
//!
//! CS = [`RING1_CS64`], SS = [`RING1_SS`], DS, ES, FS and GS null, RSI = virtual address of the start-info page,
//! RSP = end of the boot stack, other general registers 0, RFLAGS = 0x202, every vcpu's upcall mask 1. Everything else is
//! as Xen has it.
//!
//! # Hypercalls
//!
//! `int 0x82` from ring 1: RAX the number, RDI, RSI, RDX, R10 and R8 the arguments, RAX the result. *All* other registers
//! are kept, RCX and R11 too; only a long call that is interrupted and goes on afterwards may leave its argument
//! registers changed, as on Xen. From ring 3 the instruction raises #GP. Slots of the hypercall page hold
//! `mov eax, n; int 0x82; ret`; the slot of `iret` does not return: it pushes RCX, R11 and RAX first, the part of the
//! [`IretContext`](crate::regs::IretContext) that the caller has not pushed.
//!
//! # System calls
//!
//! `syscall` in ring 3 enters the `CALLBACKTYPE_syscall` address in ring 1 with RSP = the stack set by `stack_switch`,
//! RCX = the program's RIP, R11 = its RFLAGS, RFLAGS = 0x202 and every other register as it was. The program's RSP is the
//! u64 at [`USER_RSP_SLOT`], valid until this vcpu's next `syscall`. Events are not masked.
//!
//! # Returns
//!
//! Ring 1 returns to ring 3, or to itself, with its own `iretq`; hypercall 23 (`iret`) works too.
//!
//! # Events and the mask
//!
//! `evtchn_upcall_mask` holds in ring 1 only; ring 3 always takes events. A kernel may keep the mask at 1 for good and take
//! its events in ring 3 and in `SCHEDOP_block`, which clears the mask. While an event is pending and masked, ring-3
//! code segments are marked not present, so the `iretq` that would leave ring 1 raises #NP, which the hypervisor turns
//! into the event.
//!
//! # Frames
//!
//! Exceptions and events arrive by Xen's [bounce frame](crate::bounce), its CS being [`RING1_CS64`] when it came from
//! ring 1. The address of a page fault is in `vcpu_info.arch.cr2`. Entries of the trap table with DPL 3, no mask
//! flag and a vector in [`DIRECT_GATE_FIRST`]..=[`DIRECT_GATE_LAST`] become gates from ring 3 straight to ring 1: the CPU
//! pushes SS, RSP, RFLAGS, CS, RIP, and nothing else, on the stack set by `stack_switch`.
//!
//! # Page tables
//!
//! Kernel pages have US = 0, user pages US = 1. PS is refused, and G dropped from L1 entries. L4 slots 256 to 271 are the hypervisor's, as under
//! Xen: the M2P at [`M2P_VIRT_START`] and the entry area at [`ENTRY_AREA`].

use crate::mmu::MACH2PHYS_VIRT_START;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Owner of Paravane's ELF notes, without the NUL.
pub const NOTE_OWNER: &str = "Paravane";
/// Note type: the modes the kernel can run in, a u64 of `MODE_*` bits.
pub const NOTE_TYPE_MODES: u32 = 1;
/// Note type: the kernel can also start on a bare machine, and in 64-bit mode; a u64, the physical address of the entry.
///
/// The kernel is loaded at its segments' physical addresses. CPL 0 as far as it sees, long mode with CR0.PE, CR0.PG, CR4.PAE,
/// EFER.LME and EFER.LMA, a flat 64-bit CS, CR3 = tables of the loader's below 4 GiB that map the first GiB where it is,
/// writable; RFLAGS.IF and RFLAGS.DF 0; RBX = physical address of [`HvmStartInfo`](crate::pvh::HvmStartInfo), version 1 or
/// later, with the memory map, its parts and the first module (the initramfs) below the first hole above 1 MiB, and below
/// 4 GiB. RSP and all other registers are undefined. By [`XEN_ELFNOTE_PHYS32_ENTRY`](crate::elfnote::XEN_ELFNOTE_PHYS32_ENTRY)
/// the same kernel starts in 32-bit mode.
pub const NOTE_TYPE_PHYS64_ENTRY: u32 = 2;
/// Note type: where the kernel has instructions that a processor in ring 1 executes otherwise than one in ring 0, without a
/// trap; two u64, the virtual addresses of the first byte of a list of [`SensitiveSite`] and of the first behind it.
///
/// The list lies in the image, as does what it names. It is read when a PC's memory has been filled, and only where the
/// domain's configuration asks for it.
pub const NOTE_TYPE_SENSITIVE_SITES: u32 = 3;
/// In the modes note: the kernel can run in ring 1 (`pv-ring1`).
pub const MODE_PV_RING1: u64 = 1 << 0;

/// CPUID leaf with the extension's signature in EBX, ECX, EDX, and in EAX the extension's last leaf.
pub const CPUID_LEAF_SIGNATURE: u32 = 0x4000_0100;
/// CPUID leaf with the interface version in EAX; EBX, ECX and EDX are 0.
pub const CPUID_LEAF_VERSION: u32 = 0x4000_0101;
/// The extension's last leaf.
pub const CPUID_LEAF_MAX: u32 = CPUID_LEAF_VERSION;
/// The signature, as the bytes of EBX, ECX and EDX in turn.
pub const SIGNATURE: &[u8; 12] = b"ParavaneRng1";
/// Version of the interface described here.
pub const INTERFACE_VERSION: u32 = 1;

/// EBX, ECX and EDX of [`CPUID_LEAF_SIGNATURE`].
pub const fn signature_registers() -> (u32, u32, u32) {
    crate::cpuid::signature_registers(SIGNATURE)
}

/// Whether EBX, ECX and EDX hold the extension's signature.
pub const fn is_signature(ebx: u32, ecx: u32, edx: u32) -> bool {
    let (b, c, d) = signature_registers();
    ebx == b && ecx == c && edx == d
}

/// Code selector of a ring-1 kernel.
pub const RING1_CS64: u16 = 0xe069;
/// Stack selector of a ring-1 kernel.
pub const RING1_SS: u16 = 0xe071;
/// Code selector of a 64-bit program.
pub const USER_CS64: u16 = crate::segment::FLAT_RING3_CS64;
/// Code selector of a 32-bit program.
pub const USER_CS32: u16 = crate::segment::FLAT_RING3_CS32;
/// Stack and data selector of a program.
pub const USER_SS: u16 = crate::segment::FLAT_RING3_SS64;

/// Vector of the hypercall gate (DPL 1).
pub const HYPERCALL_VECTOR: u8 = 0x82;
/// First vector at which a trap-table entry can become a gate from ring 3 to ring 1.
pub const DIRECT_GATE_FIRST: u8 = 0x30;
/// Last vector at which a trap-table entry can become a gate from ring 3 to ring 1.
pub const DIRECT_GATE_LAST: u8 = 0x80;

/// Virtual address of the machine-to-physical table, an array of u64 indexed by mfn: Xen's.
pub const M2P_VIRT_START: u64 = MACH2PHYS_VIRT_START;
/// Virtual address of the entry area, L4 slot 257.
pub const ENTRY_AREA: u64 = 0xffff_8080_0000_0000;
/// Offset in the entry area of the GDT: 14 pages of the guest's, then the hypervisor's.
pub const ENTRY_GDT_OFFSET: u64 = 0;
/// Offset in the entry area of the IDT, one page.
pub const ENTRY_IDT_OFFSET: u64 = 0x1_0000;
/// Offset in the entry area of the TSS and this CPU's read-only data.
pub const ENTRY_TSS_OFFSET: u64 = 0x1_1000;
/// Offset in the entry area of the entry code.
pub const ENTRY_CODE_OFFSET: u64 = 0x1_2000;
/// Offset in the entry area of this CPU's entry stack, writable.
pub const ENTRY_STACK_OFFSET: u64 = 0x2_0000;
/// Offset in the entry area of this CPU's IST stacks, writable.
pub const ENTRY_IST_OFFSET: u64 = 0x3_0000;
/// Virtual address of a u64: RSP of the program whose `syscall` was the latest on this vcpu.
pub const USER_RSP_SLOT: u64 = ENTRY_AREA + ENTRY_STACK_OFFSET;

pub use crate::hypercall::HYPERVISOR_RING1_OP;
pub use crate::hypercall::ring1_op::RING1_OP_READ_COUNTERS;

/// Where a sensitive instruction stands: 16 bytes of the list that a note of type [`NOTE_TYPE_SENSITIVE_SITES`] names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SensitiveSite {
    /// Its virtual address.
    pub address: u64,
    /// Its length in bytes, 1 to 15.
    pub length: u8,
    /// Nothing; not looked at.
    pub reserved: [u8; 7],
}

/// What the hypervisor counts for a domain: 80 bytes, all counts since the domain started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ring1Counters {
    /// Hypercalls, each element of a multicall counted too.
    pub hypercalls: u64,
    /// Exceptions taken while the guest ran.
    pub exceptions: u64,
    /// Interrupts taken while the guest ran.
    pub interrupts: u64,
    /// Privileged instructions emulated.
    pub emulated: u64,
    /// Events delivered by upcall.
    pub events_delivered: u64,
    /// Exceptions bounced to the guest's trap table.
    pub traps_bounced: u64,
    /// CR3 loads.
    pub cr3_loads: u64,
    /// Whole-TLB flushes made for this guest. While the hypervisor is out of the guest's address space they are part of
    /// the CR3 load on the way back and cost nothing more.
    pub tlb_flushes: u64,
    /// Flushes of one page made for this guest; the same holds of them.
    pub invlpg: u64,
    /// Entries into the hypervisor, for whatever reason. A `syscall` passed on to ring 1 is not one.
    pub total_entries: u64,
}

impl Ring1Counters {
    /// The counts' names and values, in the order they are laid out.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("hypercalls", self.hypercalls),
            ("exceptions", self.exceptions),
            ("interrupts", self.interrupts),
            ("emulated", self.emulated),
            ("events_delivered", self.events_delivered),
            ("traps_bounced", self.traps_bounced),
            ("cr3_loads", self.cr3_loads),
            ("tlb_flushes", self.tlb_flushes),
            ("invlpg", self.invlpg),
            ("total_entries", self.total_entries),
        ]
    }

    /// What happened since `earlier`, count by count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            hypercalls: self.hypercalls.wrapping_sub(earlier.hypercalls),
            exceptions: self.exceptions.wrapping_sub(earlier.exceptions),
            interrupts: self.interrupts.wrapping_sub(earlier.interrupts),
            emulated: self.emulated.wrapping_sub(earlier.emulated),
            events_delivered: self.events_delivered.wrapping_sub(earlier.events_delivered),
            traps_bounced: self.traps_bounced.wrapping_sub(earlier.traps_bounced),
            cr3_loads: self.cr3_loads.wrapping_sub(earlier.cr3_loads),
            tlb_flushes: self.tlb_flushes.wrapping_sub(earlier.tlb_flushes),
            invlpg: self.invlpg.wrapping_sub(earlier.invlpg),
            total_entries: self.total_entries.wrapping_sub(earlier.total_entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{FIRST_RESERVED_GDT_BYTE, rpl};

    #[test]
    fn addresses_and_selectors_are_the_documented_ones() {
        assert_eq!(USER_RSP_SLOT, 0xffff_8080_0002_0000);
        assert_eq!(crate::pte::index(ENTRY_AREA, 4), 257);
        for selector in [RING1_CS64, RING1_SS] {
            assert_eq!(rpl(selector), 1);
            assert!(u64::from(selector) >= FIRST_RESERVED_GDT_BYTE);
        }
        for selector in [USER_CS64, USER_CS32, USER_SS] {
            assert_eq!(rpl(selector), 3);
        }
        assert!(!(DIRECT_GATE_FIRST..=DIRECT_GATE_LAST).contains(&HYPERCALL_VECTOR));
    }

    #[test]
    fn counters_subtract_name_by_name() {
        use zerocopy::{FromBytes, IntoBytes};
        let words: Vec<u64> = (1..=10).collect();
        let earlier = Ring1Counters::read_from_bytes(words.as_bytes()).expect("80 bytes");
        let later: Vec<u64> = words.iter().map(|word| word * 3).collect();
        let later = Ring1Counters::read_from_bytes(later.as_bytes()).expect("80 bytes");
        let differences: Vec<u64> = later.since(&earlier).named().iter().map(|&(_, count)| count).collect();
        assert_eq!(differences, words.iter().map(|word| word * 2).collect::<Vec<_>>());
        assert_eq!(earlier.named().map(|(_, count)| count).as_slice(), words);
        assert_eq!(earlier.named()[9].0, "total_entries");
    }
}
