//! Xen 4.17's public x86-64 PV interface, typed, for guests and hypervisors written in Rust.
//!
//! A paravirtualized (PV) guest knows that it does not own the machine. Its kernel asks the hypervisor, by hypercalls, for
//! what a kernel on bare hardware does with privileged instructions; it sees machine frames in its page tables; it gets
//! events where others get interrupts. This crate describes that interface as data: numbers, structs, flags and
//! errors, with no code that enters a hypervisor. It needs neither `std` nor an allocator and contains no `unsafe`.
//!
//! # Where things are
//!
//! | what | modules |
//! |---|---|
//! | calls | [`hypercall`] (the table), [`errno`], [`multicall`], [`privileged`], [`domctl`] |
//! | start of day | [`elfnote`], [`start_info`], [`pvh`], [`cpuid`] |
//! | state shared with the hypervisor | [`shared_info`], [`live`], [`console`] |
//! | entering the guest kernel | [`trap`], [`callback`], [`bounce`], [`regs`], [`segment`] |
//! | memory | [`mmu`], [`pte`], [`memory`] |
//! | events, time, vcpus | [`event`], [`vcpu`], [`sched`] |
//! | drivers: rings, xenstore, disks, networks | [`io`] |
//! | sharing with other domains | [`grant`], [`argo`] |
//! | the rest | [`version`], [`vm_assist`], [`physdev`], [`nmi`], [`hvm`], [`pmu`] |
//! | Paravane's own extension | [`ring1`] |
//! | all of it as data | [`layout`], [`hypercall::ROWS`] |
//!
//! Names are Xen's, in Rust's case: `EVTCHNOP_bind_virq` is [`event::EVTCHNOP_BIND_VIRQ`], `struct evtchn_bind_virq` is
//! [`event::EvtchnBindVirq`], a member called `type` or `in` is `kind` or `input`. A constant's documentation gives Xen's
//! spelling where the two differ. *mfn* is the number of a machine frame, *pfn* that of a guest's pseudo-physical
//! frame; frames have 4096 bytes. Fields that hold addresses are `u64`, because an address from a guest is a claim to
//! be checked, and what the hypervisor hands out is not always mapped.
//!
//! Every struct can be read from and written to bytes by [`zerocopy`]'s traits. Sizes, offsets and values are asserted at
//! compile time against what gcc computes from Xen's own headers.
//!
//! # A guest, from its first instruction
//!
//! The smallest guest prints a line and stops. It tells the domain builder about itself by ELF notes, starts with the
//! start-info page's address in RSI, and makes calls:
//!
//! ```no_run
//! use core::arch::asm;
//! use paravane_abi::console::CONSOLEIO_WRITE;
//! use paravane_abi::errno::{Errno, split_rax};
//! use paravane_abi::hypercall::{HYPERVISOR_CONSOLE_IO, HYPERVISOR_SCHED_OP};
//! use paravane_abi::sched::{SCHEDOP_SHUTDOWN, SHUTDOWN_POWEROFF, SchedShutdown};
//! use paravane_abi::start_info::StartInfo;
//!
//! paravane_abi::elf_notes! {
//!     XEN_VERSION = string("xen-3.0");
//!     LOADER = string("generic");
//!     GUEST_OS = string("example");
//!     VIRT_BASE = number(0xffff_ffff_8000_0000);
//!     ENTRY = address::<extern "C" fn() -> !>(start);
//! }
//!
//! /// Makes a hypercall by Xen's own convention.
//! ///
//! /// # Safety
//! ///
//! /// Whatever the call does to memory must be sound.
//! unsafe fn hypercall(number: u64, a: u64, b: u64, c: u64) -> Result<u64, i32> {
//!     let rax;
//!     // SAFETY: the caller answers for the call's effect; RCX and R11 are all it clobbers.
//!     unsafe {
//!         asm!("syscall", inlateout("rax") number => rax, in("rdi") a, in("rsi") b, in("rdx") c, out("rcx") _, out("r11") _);
//!     }
//!     split_rax(rax)
//! }
//!
//! fn print(text: &str) -> Result<u64, i32> {
//!     let (len, address) = (text.len() as u64, text.as_ptr() as u64);
//!     // SAFETY: the hypervisor only reads the text.
//!     unsafe { hypercall(HYPERVISOR_CONSOLE_IO, CONSOLEIO_WRITE.into(), len, address) }
//! }
//!
//! fn main_with(info: &StartInfo) {
//!     assert!(info.has_magic());
//!     if let Err(code) = print("hello\n") {
//!         assert_eq!(Errno::from_code(code), Some(Errno::EPERM), "only a release build of Xen's may refuse");
//!     }
//!     let power_off = SchedShutdown { reason: SHUTDOWN_POWEROFF };
//!     // SAFETY: the hypervisor only reads the argument.
//!     let _ = unsafe { hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN.into(), &raw const power_off as u64, 0) };
//! }
//!
//! extern "C" fn start() -> ! {
//!     // A real kernel sets up its stack in assembly and passes RSI on to `main_with`.
//!     loop {}
//! }
//! ```
//!
//! ## Start of day
//!
//! The builder loads the ELF file's segments by physical address. Guest page 0 is mapped at the `VIRT_BASE` note's address,
//! and from there on, in this order and each at a page boundary: what lies below the kernel, the kernel, its module
//! (unless `MOD_START_PFN` asks for a pfn), the p2m (unless `INIT_P2M` names a place for it), the
//! [start-info page](start_info::StartInfo), xenstore's page, the console's page, the page tables, the boot stack. The mapping ends
//! at a multiple of 4 MiB at least 512 KiB after the stack; page tables are mapped read-only, all else writable.
//!
//! RIP is the `ENTRY` note's, RSI the start-info page, RSP the end of the boot stack, the other general registers are 0, RFLAGS
//! is 0x202. CS and SS are [`FLAT_KERNEL_CS`](segment::FLAT_KERNEL_CS) and [`FLAT_KERNEL_SS`](segment::FLAT_KERNEL_SS), or in
//! [ring 1](ring1#start-of-day) its own. Upcalls are masked, there is no trap table, no GDT of one's own, no shared-info page
//! in the address space. What a kernel does next, roughly in this order:
//!
//! 1. [`set_trap_table`](trap), [`callback_op`](callback) for events (and `syscall` and failsafe), `stack_switch`;
//! 2. map the shared-info page: [`StartInfo::shared_info`](start_info::StartInfo::shared_info) is its *machine* address, for
//!    `update_va_mapping` on a page it can spare; from then on it is a [`live::SharedPage`];
//! 3. learn its memory from [`StartInfo::nr_pages`](start_info::StartInfo::nr_pages) and the p2m;
//! 4. install a GDT by `set_gdt` if it wants segments beyond the [flat ones](segment);
//! 5. bind its ports, unmask upcalls, and run.
//!
//! ## Hypercalls
//!
//! There are two conventions. Under Xen's own the instruction is `syscall`, the number goes in RAX, arguments in RDI, RSI, RDX,
//! R10, R8, and RCX and R11 are lost. In [ring 1](ring1#hypercalls) it is `int 0x82` and all but RAX is kept. A kernel that leaves the
//! instruction to the *hypercall page* runs under both: its `HYPERCALL_PAGE` note names a page of its text, which the
//! hypervisor fills with [`PAGE_SLOTS`](hypercall::PAGE_SLOTS) functions of [`SLOT_SIZE`](hypercall::SLOT_SIZE) bytes.
//!
//! ```no_run
//! use core::arch::{asm, global_asm};
//! use paravane_abi::errno::split_rax;
//! use paravane_abi::hypercall::{HYPERVISOR_XEN_VERSION, SLOT_SIZE};
//! use paravane_abi::version::XENVER_VERSION;
//!
//! // `int3` until it is filled, so that a call on the wrong machine stops at once.
//! global_asm!(
//!     ".pushsection .text.hypercall_page, \"ax\", @progbits",
//!     ".balign 4096",
//!     ".global hypercall_page",
//!     "hypercall_page: .fill 4096, 1, 0xcc",
//!     ".popsection",
//! );
//!
//! unsafe extern "C" {
//!     safe static hypercall_page: [u8; 4096];
//! }
//!
//! paravane_abi::elf_notes! {
//!     HYPERCALL_PAGE = address::<&[u8; 4096]>(&hypercall_page);
//! }
//!
//! /// Makes a hypercall by either convention.
//! ///
//! /// # Safety
//! ///
//! /// Whatever the call does to memory must be sound. `iret` is not called this way.
//! unsafe fn hypercall(number: u64, args: [u64; 5]) -> Result<u64, i32> {
//!     let slot = &raw const hypercall_page as u64 + number * SLOT_SIZE as u64;
//!     let rax: u64;
//!     // SAFETY: the slot is a function without arguments on the stack; the caller answers for its effect.
//!     unsafe {
//!         asm!(
//!             "call {slot}", slot = in(reg) slot, lateout("rax") rax, lateout("rcx") _, lateout("r11") _,
//!             inlateout("rdi") args[0] => _, inlateout("rsi") args[1] => _, inlateout("rdx") args[2] => _,
//!             inlateout("r10") args[3] => _, inlateout("r8") args[4] => _, lateout("r9") _,
//!         );
//!     }
//!     split_rax(rax)
//! }
//!
//! /// The hypervisor's version: major << 16 | minor.
//! fn version() -> Result<u64, i32> {
//!     // SAFETY: the call changes nothing.
//!     unsafe { hypercall(HYPERVISOR_XEN_VERSION, [XENVER_VERSION.into(), 0, 0, 0, 0]) }
//! }
//! # fn main() {
//! #     let _ = version();
//! # }
//! ```
//!
//! A long call may be interrupted: the hypervisor sets RIP back to the instruction, with the arguments changed so that it
//! goes on. That is why the argument registers count as lost above. Arguments in memory are read when the call starts and must be
//! mapped. [`multicall`] makes several in one entry.
//!
//! Which convention applies is known from CS at the start, or from [CPUID](cpuid) behind the forced-emulation prefix.
//!
//! ## Memory
//!
//! Page tables hold *machine* frames, and the hypervisor checks every entry. The p2m, at
//! [`StartInfo::mfn_list`](start_info::StartInfo::mfn_list), gives the mfn of each pfn; the machine-to-physical table at
//! [`MACH2PHYS_VIRT_START`](mmu::MACH2PHYS_VIRT_START) gives the way back. A page that is a page table is mapped read-only
//! everywhere, and changes by [`mmu_update`](mmu::MmuUpdate), `update_va_mapping`, or a plain write that the hypervisor
//! emulates. A new L4 is filled, mapped read-only, pinned by [`MMUEXT_PIN_L4_TABLE`](mmu::MMUEXT_PIN_L4_TABLE), and loaded by
//! [`MMUEXT_NEW_BASEPTR`](mmu::MMUEXT_NEW_BASEPTR). L4 slots 256 to 271 are the hypervisor's.
//!
//! ```
//! use paravane_abi::mmu::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
//! use paravane_abi::mmu::{MMU_NORMAL_PT_UPDATE, MmuUpdate};
//! use paravane_abi::pte::{PAGE_SIZE, PteFlags, index};
//!
//! /// The request that makes entry `slot` of the table in machine frame `table` map machine frame `mfn`.
//! fn map(table: u64, slot: u64, mfn: u64, flags: PteFlags) -> MmuUpdate {
//!     MmuUpdate { ptr: table * PAGE_SIZE + slot * 8 + MMU_NORMAL_PT_UPDATE, val: mfn * PAGE_SIZE | flags.bits() }
//! }
//!
//! let request = map(0x1234, 7, 0x5678, PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED | PteFlags::DIRTY);
//! assert_eq!((request.ptr, request.val), (0x123_4038, 0x567_8063));
//! assert_eq!((index(HYPERVISOR_VIRT_START, 4), index(HYPERVISOR_VIRT_END - 1, 4)), (256, 271));
//! ```
//!
//! ## Exceptions and system calls
//!
//! [`trap`] declares handlers, [`bounce`] what they find on the stack, [`regs::IretContext`] what hypercall 23 returns by. On
//! Xen's own interface kernel and programs both run in ring 3, in two address spaces, and every system call and return is the
//! hypervisor's; in [ring 1](ring1) `syscall` and `iretq` are nearly free. The address of a page fault is in
//! [`ArchVcpuInfo::cr2`](shared_info::ArchVcpuInfo::cr2).
//!
//! ## Events
//!
//! An event channel's port is an interrupt line. The event callback is entered with upcalls masked, on the kernel stack;
//! it takes what is pending, calls handlers, and returns. Idling is the reverse: look whether there is work, and if not,
//! block, which unmasks.
//!
//! ```
//! use paravane_abi::live::SharedPage;
//!
//! /// The body of the event callback on a vcpu, and of every loop that waits.
//! fn serve(page: &SharedPage, vcpu: usize, handlers: &[fn(u32)]) {
//!     page.drain(vcpu, |port| {
//!         if let Some(handler) = handlers.get(port as usize) {
//!             handler(port);
//!         }
//!     });
//! }
//!
//! /// The idle loop. `block` is `SCHEDOP_block`: it unmasks upcalls and sleeps until one is pending, at once.
//! fn idle(page: &SharedPage, vcpu: usize, mut has_work: impl FnMut() -> bool, mut block: impl FnMut()) {
//!     loop {
//!         page.vcpu_info[vcpu].mask_upcalls();
//!         serve(page, vcpu, &[]);
//!         if has_work() {
//!             let _ = page.vcpu_info[vcpu].unmask_upcalls();
//!             return;
//!         }
//!         block();
//!     }
//! }
//!
//! let mut times = 0;
//! idle(&SharedPage::default(), 0, || { times += 1; times == 3 }, || ());
//! assert_eq!(times, 3);
//! ```
//!
//! [`event::EVTCHNOP_BIND_VIRQ`] binds the timer, [`event::EVTCHNOP_BIND_IPI`] another vcpu,
//! [`event::EVTCHNOP_ALLOC_UNBOUND`] and [`event::EVTCHNOP_BIND_INTERDOMAIN`] another domain. More than 4096 ports, or
//! priorities, need [FIFO queues](event::fifo).
//!
//! Time is [`LiveVcpuInfo::time`](live::LiveVcpuInfo::time) and the TSC:
//! [`system_time_at`](shared_info::VcpuTimeInfo::system_time_at). `set_timer_op` raises the timer's event at a system time.
//!
//! ## The console
//!
//! `console_io` is the hypervisor's console and may be refused. A guest's own is a page with two [streams](io::stream),
//! named by [`StartInfo::console_mfn`](start_info::StartInfo::console_mfn), and a port to raise after writing.
//!
//! ## Several vcpus
//!
//! A vcpu is started by giving its whole state to [`VCPUOP_INITIALISE`](vcpu::VCPUOP_INITIALISE) and then
//! [`VCPUOP_UP`](vcpu::VCPUOP_UP). Vcpus from number 32 on must first
//! [register](vcpu::VCPUOP_REGISTER_VCPU_INFO) a place for their [`VcpuInfo`](shared_info::VcpuInfo).
//!
//! ```
//! use paravane_abi::segment::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
//! use paravane_abi::vcpu::{VGCF_IN_KERNEL, VcpuGuestContext, mfn_to_cr3};
//!
//! /// The state of a vcpu that starts in the kernel at `entry`, on a stack and an address space of the caller's choice.
//! fn context(entry: u64, stack: u64, l4: u64, upcall: u64) -> VcpuGuestContext {
//!     let mut context = VcpuGuestContext { flags: VGCF_IN_KERNEL, ..Default::default() };
//!     context.user_regs.rip = entry;
//!     context.user_regs.rsp = stack;
//!     context.user_regs.cs = FLAT_KERNEL_CS;
//!     context.user_regs.ss = FLAT_KERNEL_SS;
//!     // Interrupts on, as the flags show them; the upcall mask of the new vcpu decides.
//!     context.user_regs.rflags = 0x202;
//!     (context.kernel_ss, context.kernel_sp) = (FLAT_KERNEL_SS.into(), stack);
//!     context.ctrlreg[3] = mfn_to_cr3(l4);
//!     context.event_callback_eip = upcall;
//!     context
//! }
//! assert_eq!(context(0, 0, 0x1234, 0).ctrlreg[3], 0x123_4000);
//! ```
//!
//! ## Devices
//!
//! All a domain has besides are other domains. [`grant`] lends them pages, [`io::xenstore`] is where both look each other up,
//! [`io::ring`] is how they talk, and [`io`] tells the steps, with [disks](io::block) and [networks](io::net) as the two
//! protocols everyone speaks.
//!
//! # All calls
//!
//! [`hypercall::ROWS`] lists them as data. A page for each, with its sub-operations, structs and errors, is made from it by
//! `cargo run -p paravane-abi --example reference`.
//!
//! # A hypervisor
//!
//! Dispatch that does not compile when a call has no handler:
//!
//! ```
//! use paravane_abi::errno::Errno;
//! use paravane_abi::event::EvtchnSend;
//! use paravane_abi::hypercall::event_channel_op::EventCommand;
//! use zerocopy::FromBytes;
//!
//! /// `bytes` are the argument, copied from the guest.
//! fn event_channel_op(command: u32, bytes: &[u8]) -> Result<u64, Errno> {
//!     match EventCommand::from_number(command).ok_or(Errno::ENOSYS)? {
//!         EventCommand::Send => {
//!             let (send, _) = EvtchnSend::read_from_prefix(bytes).map_err(|_| Errno::EFAULT)?;
//!             if send.port == 0 { Err(Errno::EINVAL) } else { Ok(0) }
//!         }
//!         // Without this arm the compiler lists what is missing.
//!         _ => Err(Errno::ENOSYS),
//!     }
//! }
//! assert_eq!(event_channel_op(4, &0u32.to_le_bytes()), Err(Errno::EINVAL));
//! assert_eq!(event_channel_op(4, &[]), Err(Errno::EFAULT));
//! ```
//!
//! [`hypercall_table!`] expands stubs, traits and documentation from the same rows.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod macros;
#[macro_use]
mod table;

pub mod argo;
pub mod bounce;
pub mod callback;
pub mod console;
pub mod cpuid;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod layout;
mod layout_asserts;
pub mod live;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod nmi;
pub mod physdev;
pub mod pmu;
pub mod privileged;
pub mod pte;
pub mod pvh;
pub mod regs;
pub mod ring1;
pub mod sched;
pub mod segment;
pub mod shared_info;
pub mod start_info;
pub mod trap;
pub mod vcpu;
pub mod version;
pub mod vm_assist;

/// The README's example, compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
