//! The instructions, one each, and the list of where they stand.
//!
//! Each is sensitive in Popek and Goldberg's sense, and in ring 1 completes without a trap. The list is for whoever wants to
//! replace them (`NOTE_TYPE_SENSITIVE_SITES` in `paravane_abi::ring1`): the address and the length of each.

use core::arch::naked_asm;

use crate::selftest::probe::Regs;

/// A site: executes its instruction with the registers given.
pub type Site = unsafe extern "C" fn(&mut Regs);

macro_rules! sites {
    ($($(#[$doc:meta])+ $name:ident: $before:literal, $instruction:literal, $after:expr;)*) => {$(
        $(#[$doc])+
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name(_: &mut Regs) {
            naked_asm!(
                "push rbx",
                "push rdi",
                "mov rax, [rdi]",
                "mov rcx, [rdi + 8]",
                "mov rdx, [rdi + 16]",
                $before,
                concat!("2: ", $instruction),
                "3:",
                $after,
                "pop rdi",
                "mov [rdi], rax",
                "mov [rdi + 8], rcx",
                "mov [rdi + 16], rdx",
                "pop rbx",
                "ret",
                ".pushsection .sites, \"a\", @progbits",
                ".quad 2b",
                ".byte 3b - 2b",
                ".skip 7",
                ".popsection",
            )
        }
    )*};
}

/// Shows what the flags are to one who does not ask by `pushf`: an exception's frame has them. Then interrupts are off, by an
/// instruction that traps.
macro_rules! look_at_flags {
    () => {
        "4: ud2
        5: cli
        .pushsection .ex_table, \"a\", @progbits
        .quad 4b, 5b
        .popsection"
    };
}

sites! {
    /// `popf`: RAX to the flags, which the last fault then has.
    popf: "push rax", "popfq", look_at_flags!();
    /// `iretq` to the next instruction of this kernel, in the ring that CS reads as: RAX to the flags.
    iret: "mov rdx, rsp
           mov ecx, ss
           push rcx
           push rdx
           push rax
           mov ecx, cs
           push rcx
           lea rcx, [rip + 3f]
           push rcx", "iretq", look_at_flags!();
    /// `pushf`: the flags to RAX.
    pushf: "", "pushfq", "pop rax";
    /// CS to EAX.
    mov_cs: "", "mov eax, cs", "";
    /// SS to EAX.
    mov_ss: "", "mov eax, ss", "";
    /// The rights of selector CX to EAX, and to EDX whether it has any.
    lar: "", "lar eax, ecx", "setz dl\nmovzx edx, dl";
    /// The limit of selector CX to EAX, and to EDX whether it has one.
    lsl: "", "lsl eax, ecx", "setz dl\nmovzx edx, dl";
    /// To EDX whether selector CX may be read by.
    verr: "", "verr cx", "setz dl\nmovzx edx, dl";
    /// To EDX whether selector CX may be written by.
    verw: "", "verw cx", "setz dl\nmovzx edx, dl";
    /// GDTR to memory.
    sgdt: "", "sgdt [rdi + 24]", "";
    /// IDTR to memory.
    sidt: "", "sidt [rdi + 24]", "";
    /// The selector of the LDT to EAX.
    sldt: "", "sldt eax", "";
    /// The selector of the task state to EAX.
    str: "", "str eax", "";
    /// CR0's lower half to EAX.
    smsw: "", "smsw eax", "";
    /// The leaf in EAX and ECX: its EBX to memory.
    cpuid: "", "cpuid", "mov [rdi + 24], rbx";
}
