// The entry area's code: the only hypervisor code mapped while a guest runs. It executes at ENTRY_AREA
// with RIP-relative access to this CPU's data page and entry stack, which every address space maps at the
// same place (cpu_* symbols, given by the linker script; the layout is documented in `entry/area.rs`).
//
// Rules (docs/soundness.md): CLD first; RSP never points into guest memory; GS is the guest's; whether an
// entry came from ring 0 is read from the CS the CPU pushed.

.section .entry, "ax", @progbits

.macro push_registers
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm

.macro pop_registers
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
.endm

// The vector stubs complete the frame to Xen's cpu_user_regs with error code and vector; 16 bytes apart,
// so that the IDT is computed from one address. 0x227d00: the vectors that push an error code.
.balign 16
.global exception_stubs
exception_stubs:
.set vector, 0
.rept 32
    .balign 16
    .if !((0x227d00 >> vector) & 1)
    push 0
    .endif
    mov dword ptr [rsp + 4], vector
    jmp exception_entry
.set vector, vector + 1
.endr

.balign 16
.global device_stubs
device_stubs:
.set vector, 0xe0
.rept 32
    .balign 16
    push 0
    mov dword ptr [rsp + 4], vector
    jmp exception_entry
.set vector, vector + 1
.endr

.balign 16
exception_entry:
    cld
    test byte ptr [rsp + 16], 3
    jz from_ring0
guest_entry:
    push_registers
    mov rax, [rip + cpu_hypervisor_cr3]
    mov cr3, rax
    mov rdi, rsp
    mov rsp, [rip + cpu_hypervisor_stack]
    call qword ptr [rip + cpu_guest_handler]
.global return_to_guest
return_to_guest:
    mov rax, [rip + cpu_guest_cr3]
    mov cr3, rax
    lea rsp, [rip + cpu_frame]
    pop_registers
    add rsp, 8
.global exit_iretq
exit_iretq:
    iretq

// int 0x82, DPL 1: a hypercall from ring 1. The CPU has proved the ring.
.balign 16
.global hypercall_entry
hypercall_entry:
    cld
    push 0
    mov dword ptr [rsp + 4], 0x82
    push_registers
    mov rax, [rip + cpu_hypervisor_cr3]
    mov cr3, rax
    mov rdi, rsp
    mov rsp, [rip + cpu_hypervisor_stack]
    call qword ptr [rip + cpu_hypercall_handler]
    jmp return_to_guest

// A fault in ring 0. On the exit's own iretq it is the guest's: reported as an exception in the context
// that was being returned to, whose frame still stands at the top of the entry stack. The mark on the vector
// says that no instruction of the guest's raised it: there is nothing to emulate, or the exit would be tried
// again and again.
from_ring0:
    push rax
    lea rax, [rip + exit_iretq]
    cmp [rsp + 16], rax
    pop rax
    jne 1f
    or dword ptr [rsp + 4], {exit_fault}
    pop qword ptr [rip + cpu_frame_error_code]
    lea rsp, [rip + cpu_frame_error_code]
    jmp guest_entry
// A processor in long mode knows no virtual-8086 mode. QEMU's `iret` enters it, from ring 3 as well
// (docs/caveats.md), and there CS is any number: its low bits are no ring.
1:  test dword ptr [rsp + 24], {flag_vm}
    jnz guest_entry
// A fault of the hypervisor's own, which is reported. In the entry code the guest's tables may be loaded, in which
// the handler is not mapped; nothing stands on the hypervisor's stack then.
ring0_fault:
    push_registers
    mov rdi, rsp
    mov rbx, rsp
    mov rbp, cr3
    mov rax, [rip + cpu_hypervisor_cr3]
    cmp rax, rbp
    je 2f
    mov cr3, rax
    mov rsp, [rip + cpu_hypervisor_stack]
2:  and rsp, -16
    call qword ptr [rip + cpu_ring0_handler]
    mov rsp, rbx
    pop_registers
    add rsp, 8
    iretq

// syscall with a callback registered: enter ring 1 by a frame kept ready in this CPU's read-only page.
// Nothing is pushed, nothing can fault, and the guest's RCX and R11 are already what it is told to expect.
.balign 16
.global syscall_entry
syscall_entry:
    mov [rip + cpu_user_rsp_slot], rsp
    lea rsp, [rip + cpu_syscall_frame]
    iretq

// syscall with no callback, and syscall in compatibility mode: a frame as an exception would have left, and
// the hypervisor decides.
.macro slow_syscall code_segment, vector
    mov [rip + cpu_user_rsp_slot], rsp
    lea rsp, [rip + cpu_frame_top]
    push {user_ss}
    push qword ptr [rip + cpu_user_rsp_slot]
    push r11
    push \code_segment
    push rcx
    push 0
    mov dword ptr [rsp + 4], \vector
    cld
    jmp guest_entry
.endm

.balign 16
.global syscall_refused
syscall_refused:
    slow_syscall {user_cs64}, {vector_syscall}
.balign 16
.global syscall32_entry
syscall32_entry:
    slow_syscall {user_cs32}, {vector_syscall32}

// NMI, #DF, #MC on stacks of their own: they may interrupt any of the above, so they keep the CR3 they find. An
// NMI may also come while one of the others is being reported, and goes back there (SDM vol. 3, 6.7.1: only NMIs
// hold NMIs back), so it has the upper part of the handlers' stack to itself.
.macro paranoid_entry vector, has_error_code, below
    .balign 16
    .if \has_error_code == 0
    push 0
    .endif
    mov dword ptr [rsp + 4], \vector
    cld
    push_registers
    mov rbx, cr3
    mov rax, [rip + cpu_hypervisor_cr3]
    mov cr3, rax
    mov rdi, rsp
    mov rbp, rsp
    mov rsp, [rip + cpu_nmi_stack]
    sub rsp, \below
    call qword ptr [rip + cpu_paranoid_handler]
    mov rsp, rbp
    mov cr3, rbx
    pop_registers
    add rsp, 8
    test dword ptr [rsp + 16], {flag_vm}
    jnz leave_virtual_8086
    iretq
.endm

// An NMI, in what QEMU took for virtual-8086 mode: a CS that is any number is not returned to. The program goes on in
// 64-bit mode, where its next instruction most likely faults.
leave_virtual_8086:
    and dword ptr [rsp + 16], ~{flag_vm}
    mov qword ptr [rsp + 8], {user_cs64}
    mov qword ptr [rsp + 32], {user_ss}
    iretq

.global nmi_entry
nmi_entry:
    paranoid_entry 2, 0, 0
.global double_fault_entry
double_fault_entry:
    paranoid_entry 8, 1, {nmi_room}
.global machine_check_entry
machine_check_entry:
    paranoid_entry 18, 0, {nmi_room}

// #DB has a stack of its own because `mov ss` can defer one onto the first instruction of an entry
// (XSA-260). From ring 0 it is dropped, and DR6 made to say that there was none (SDM vol. 3, 17.2.3: the
// processor sets bits of it and clears none); from the guest it goes on like any exception.
.balign 16
.global debug_entry
debug_entry:
    cld
    test byte ptr [rsp + 8], 3
    jz 1f
2:  push 0
    mov dword ptr [rsp + 4], 1
    push qword ptr [rsp + 40]
    pop qword ptr [rip + cpu_frame_top - 8]
    push qword ptr [rsp + 32]
    pop qword ptr [rip + cpu_frame_top - 16]
    push qword ptr [rsp + 24]
    pop qword ptr [rip + cpu_frame_top - 24]
    push qword ptr [rsp + 16]
    pop qword ptr [rip + cpu_frame_top - 32]
    push qword ptr [rsp + 8]
    pop qword ptr [rip + cpu_frame_top - 40]
    pop qword ptr [rip + cpu_frame_top - 48]
    lea rsp, [rip + cpu_frame_top - 48]
    jmp guest_entry
1:  test dword ptr [rsp + 16], {flag_vm}
    jnz 2b
    push rax
    mov eax, 0xffff0ff0
    mov dr6, rax
    pop rax
    iretq
