//! What makes a crate a kernel: the ELF notes by which a domain builder learns what it is (xen/include/public/elfnote.h), the
//! page that the hypervisor fills with its stubs, and the first instructions.

/// Makes the crate a kernel: `kernel_image!("name", main)`, `main` being an `fn() -> !`. Xen's notes offer ring 3, Paravane's
/// ring 1 as well.
///
/// The image is linked at [`VIRT_BASE`](crate::boot::VIRT_BASE) + 2 MiB, sections `.text.hypercall_page` first, and
/// `__image_end` is its end.
#[macro_export]
macro_rules! kernel_image {
    ($name:literal, $main:path) => {
        /// Bytes of the stack that the kernel runs on.
        const IMAGE_STACK: usize = 64 * 1024;

        ::core::arch::global_asm!(
            ".macro XEN_NOTE_QUAD type, value",
            "    .long 4, 8, \\type",
            "    .asciz \"Xen\"",
            "    .quad \\value",
            ".endm",
            ".macro XEN_NOTE_STR type, text",
            "    .long 4, 3f - 2f, \\type",
            "    .asciz \"Xen\"",
            "2:  .asciz \"\\text\"",
            "3:  .balign 4",
            ".endm",
            ".pushsection .note.xen, \"a\", @note",
            "    .balign 4",
            "    XEN_NOTE_QUAD {entry}, _start",
            "    XEN_NOTE_QUAD {hypercall_page}, hypercall_page",
            "    XEN_NOTE_QUAD {virt_base}, {base}",
            "    XEN_NOTE_QUAD {paddr_offset}, 0",
            "    XEN_NOTE_QUAD {init_p2m}, {p2m}",
            "    .long 4, 4, {mod_start_pfn}",
            "    .asciz \"Xen\"",
            "    .long 1",
            "    XEN_NOTE_STR {xen_version}, \"xen-3.0\"",
            concat!("    XEN_NOTE_STR {guest_os}, \"", $name, "\""),
            "    XEN_NOTE_STR {guest_version}, \"0.1\"",
            "    XEN_NOTE_STR {loader}, \"generic\"",
            "    XEN_NOTE_STR {pae_mode}, \"yes\"",
            "    XEN_NOTE_STR {features}, \"pae_pgdir_above_4gb\"",
            "    .long 9, 8, {modes}",
            "    .asciz \"Paravane\"",
            "    .balign 4",
            "    .quad {ring1}",
            ".popsection",
            ".pushsection .text.hypercall_page, \"ax\", @progbits",
            "    .balign 4096",
            "    .global hypercall_page",
            "hypercall_page:",
            "    .fill 4096, 1, 0x90",
            ".popsection",
            ".pushsection .bss.page, \"aw\", @nobits",
            "    .balign 4096",
            "    .skip {stack}",
            "image_stack_top:",
            ".popsection",
            ".pushsection .data.entry, \"aw\", @progbits",
            "    .balign 8",
            "    .global entry_registers",
            "entry_registers:",
            "    .fill {registers}, 8, 0",
            ".popsection",
            ".pushsection .text.start, \"ax\", @progbits",
            ".global _start",
            // Nothing is lost before it is written down; the stack is the builder's until the flags are.
            "_start:",
            "    mov [rip + entry_registers], rax",
            "    lea rax, [rip + entry_registers]",
            "    mov [rax + 8], rbx",
            "    mov [rax + 16], rcx",
            "    mov [rax + 24], rdx",
            "    mov [rax + 32], rsi",
            "    mov [rax + 40], rdi",
            "    mov [rax + 48], rbp",
            "    mov [rax + 56], r8",
            "    mov [rax + 64], r9",
            "    mov [rax + 72], r10",
            "    mov [rax + 80], r11",
            "    mov [rax + 88], r12",
            "    mov [rax + 96], r13",
            "    mov [rax + 104], r14",
            "    mov [rax + 112], r15",
            "    mov [rax + 120], rsp",
            "    pushfq",
            "    pop qword ptr [rax + 128]",
            "    mov word ptr [rax + 136], cs",
            "    mov word ptr [rax + 144], ss",
            "    mov word ptr [rax + 152], ds",
            "    mov word ptr [rax + 160], es",
            "    mov word ptr [rax + 168], fs",
            "    mov word ptr [rax + 176], gs",
            "    cld",
            "    lea rsp, [rip + image_stack_top]",
            "    xor ebp, ebp",
            "    call image_main",
            "    ud2",
            ".popsection",
            entry = const $crate::elfnote::XEN_ELFNOTE_ENTRY,
            hypercall_page = const $crate::elfnote::XEN_ELFNOTE_HYPERCALL_PAGE,
            virt_base = const $crate::elfnote::XEN_ELFNOTE_VIRT_BASE,
            base = const $crate::boot::VIRT_BASE,
            paddr_offset = const $crate::elfnote::XEN_ELFNOTE_PADDR_OFFSET,
            init_p2m = const $crate::elfnote::XEN_ELFNOTE_INIT_P2M,
            p2m = const $crate::boot::INIT_P2M,
            mod_start_pfn = const $crate::elfnote::XEN_ELFNOTE_MOD_START_PFN,
            xen_version = const $crate::elfnote::XEN_ELFNOTE_XEN_VERSION,
            guest_os = const $crate::elfnote::XEN_ELFNOTE_GUEST_OS,
            guest_version = const $crate::elfnote::XEN_ELFNOTE_GUEST_VERSION,
            loader = const $crate::elfnote::XEN_ELFNOTE_LOADER,
            pae_mode = const $crate::elfnote::XEN_ELFNOTE_PAE_MODE,
            features = const $crate::elfnote::XEN_ELFNOTE_FEATURES,
            modes = const $crate::ring1::NOTE_TYPE_MODES,
            ring1 = const $crate::ring1::MODE_PV_RING1,
            stack = const IMAGE_STACK,
            registers = const $crate::boot::EntryRegisters::COUNT,
        );

        unsafe extern "C" {
            static hypercall_page: u8;
            static __image_end: u8;
            static entry_registers: $crate::boot::EntryRegisters;
        }

        /// Reports and ends the domain as crashed.
        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::boot::panicked(info)
        }

        /// Entered from `_start` on the image's stack.
        #[unsafe(no_mangle)]
        extern "C" fn image_main() -> ! {
            // SAFETY: the first instructions have filled the registers, and this is the one call.
            unsafe {
                $crate::boot::initialise(
                    entry_registers,
                    &raw const hypercall_page as u64,
                    &raw const __image_end as u64,
                );
            }
            $main()
        }
    };
}
