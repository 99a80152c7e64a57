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
//! | calls | [`hypercall`] (the table), [`errno`], [`multicall`] |
//! | start of day | [`elfnote`], [`start_info`], [`pvh`], [`cpuid`] |
//! | state shared with the hypervisor | [`shared_info`], [`console`] |
//! | entering the guest kernel | [`trap`], [`callback`], [`bounce`], [`regs`], [`segment`] |
//! | memory | [`mmu`], [`pte`], [`memory`] |
//! | lending memory to other domains | [`grant`] |
//! | events, time, vcpus | [`event`], [`vcpu`], [`sched`] |
//! | drivers: rings, xenstore, disks, networks | [`io`] |
//! | the rest | [`version`], [`vm_assist`], [`physdev`] |
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
//! # A guest
//!
//! A kernel tells the domain builder about itself by ELF notes, starts with the start-info page's address in RSI, and
//! makes calls:
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
pub mod elfnote;
pub mod errno;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod layout;
mod layout_asserts;
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
