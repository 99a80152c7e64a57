//! What entry code calls: one function per kind of entry, on the hypervisor's stack and tables, with
//! interrupts off. They take the lock, hand the entry to `core`, and do what it says comes next.

use core::sync::atomic::Ordering;

use paravane_abi::regs::CpuUserRegs;
use paravane_core::cmdline::Options;
use paravane_core::emulate::flag;
use paravane_core::guest::EXIT_FAULT;
use paravane_core::hypervisor::{Hypervisor, Leave, Next};
use paravane_core::lock::Rank;
use paravane_core::machine::Processor;
use spin::Once;
use x86_64::instructions::interrupts;
use x86_64::registers::control::Cr2;

use crate::clock;
use crate::cpu::local::{self, Local, Lock};
use crate::device::exit::{self, Reason};
use crate::device::{apic, pic, serial};
use crate::digest;
use crate::entry::{self, Frame, area};
use crate::hardware::Hardware;
use crate::smp::{stop, watchdog};
use crate::stack::Stacks;
use crate::storm;

/// The hypervisor's state, from the moment the first domain is built.
static HYPERVISOR: Lock<Option<Hypervisor<Hardware>>> = Lock::new(Rank::Hypervisor, None);

const VECTOR_NMI: u32 = 2;
const VECTOR_PAGE_FAULT: u32 = 14;
const VECTOR_SERIAL: u32 = (pic::VECTOR_BASE + serial::IRQ) as u32;
const VECTOR_TIMER: u32 = apic::VECTOR_TIMER as u32;
const VECTOR_FLUSH: u32 = apic::VECTOR_FLUSH as u32;
const VECTOR_SPURIOUS: u32 = apic::VECTOR_SPURIOUS as u32;
const FIRST_DEVICE_VECTOR: u32 = pic::VECTOR_BASE as u32;

/// Tells entry code where to go.
pub fn fill(
    cpu: &mut area::CpuPage,
    hypervisor_root: u64,
    guest_root: u64,
    stacks: Stacks,
    local: &'static Local,
) {
    (cpu.number, cpu.local) = (local.number(), local);
    cpu.hypervisor_cr3 = hypervisor_root;
    cpu.guest_cr3 = guest_root;
    cpu.hypervisor_stack = stacks.entry;
    cpu.nmi_stack = stacks.paranoid;
    cpu.guest_handler = guest_entry as *const () as u64;
    cpu.hypercall_handler = hypercall_entry as *const () as u64;
    cpu.ring0_handler = ring0_entry as *const () as u64;
    cpu.paranoid_handler = paranoid_entry as *const () as u64;
    let user_entry = paravane_core::descriptor::Policy::Ring1;
    // RIP and RSP come with the callback and the stack; until then `syscall` does not lead here.
    cpu.syscall_frame = [0, user_entry.kernel_code().into(), 0x202, 0, user_entry.kernel_stack().into()];
}

/// An exception or an interrupt from a guest.
extern "C" fn guest_entry(regs: &mut CpuUserRegs) {
    let local = local::this();
    local.entered();
    if regs.rflags & flag::VM != 0 {
        leave_virtual_8086(regs);
    }
    let vector = regs.entry_vector;
    if vector == VECTOR_FLUSH {
        // The entry was the flush. Whoever asked has the lock and waits, so it is not taken here.
        apic::acknowledge();
        return local.leaves();
    }
    let fault_address = if vector & !EXIT_FAULT == VECTOR_PAGE_FAULT { Cr2::read_raw() } else { 0 };
    let device = (FIRST_DEVICE_VECTOR..=VECTOR_SPURIOUS).contains(&vector);
    if device {
        acknowledge(vector);
        if vector == VECTOR_TIMER {
            watchdog::tick();
        }
    }
    let mut guard = take();
    let hypervisor = running(&mut guard);
    if device {
        hypervisor.enter();
        hypervisor.count_interrupt();
        match vector {
            VECTOR_TIMER => hypervisor.timer_interrupt(),
            VECTOR_SERIAL => hypervisor.console_interrupt(),
            _ => {}
        }
    } else {
        hypervisor.exception(regs, fault_address);
    }
    let next = hypervisor.prepare_return(regs);
    leave(guard, regs, next);
}

/// What a processor cannot do in long mode and QEMU does (`docs/caveats.md`): the guest was in virtual-8086 mode, whose
/// CS and SS are numbers that tell no ring. The ring was 3.
#[cold]
fn leave_virtual_8086(regs: &mut CpuUserRegs) {
    regs.rflags &= !flag::VM;
    (regs.cs, regs.ss) = (regs.cs | 3, regs.ss | 3);
}

/// A hypercall from ring 1.
extern "C" fn hypercall_entry(regs: &mut CpuUserRegs) {
    local::this().entered();
    let mut guard = take();
    let hypervisor = running(&mut guard);
    hypervisor.hypercall(regs);
    let next = hypervisor.prepare_return(regs);
    leave(guard, regs, next);
}

/// An exception or an interrupt in ring 0. Interrupts come while idle; exceptions are the hypervisor's bugs.
extern "C" fn ring0_entry(regs: &Frame) {
    match regs.vector {
        VECTOR_TIMER => local::this().timer_fired.store(true, Ordering::Relaxed),
        VECTOR_SERIAL => local::this().serial_fired.store(true, Ordering::Relaxed),
        FIRST_DEVICE_VECTOR..=VECTOR_SPURIOUS => {}
        vector => panic!(
            "vector {vector} in ring 0 at {:#x}, error code {:#x}, CR2 {:#x}, RSP {:#x}",
            regs.rip,
            regs.error_code,
            Cr2::read_raw(),
            regs.rsp
        ),
    }
    acknowledge(regs.vector);
}

/// NMI, #DF, #MC: on a stack of their own, over whatever was interrupted.
extern "C" fn paranoid_entry(regs: &Frame) {
    match regs.vector {
        // One that no processor has sent is no reason to stop.
        VECTOR_NMI => {
            storm::count(regs);
            stop::on_nmi(regs);
        }
        vector => panic!("vector {vector} at {:#x}:{:#x}, RSP {:#x}", regs.cs, regs.rip, regs.rsp),
    }
}

fn acknowledge(vector: u32) {
    match vector {
        VECTOR_SERIAL => pic::acknowledge(),
        // A spurious interrupt of either controller is not acknowledged (SDM vol. 3, 11.9; 8259A data sheet).
        VECTOR_SPURIOUS => {}
        vector if vector < FIRST_DEVICE_VECTOR + 16 => {}
        _ => apic::acknowledge(),
    }
}

type Guard<'a> = local::Guard<'a, Option<Hypervisor<Hardware>>>;

/// Takes the hypervisor's lock.
#[inline]
fn take<'a>() -> Guard<'a> {
    HYPERVISOR.try_lock().unwrap_or_else(wait_for_lock)
}

#[cold]
fn wait_for_lock<'a>() -> Guard<'a> {
    let local = local::this();
    local.waits.store(true, Ordering::Relaxed);
    let guard = HYPERVISOR.lock_while(|| {
        watchdog::look();
        core::hint::spin_loop();
    });
    local.turn();
    local.waits.store(false, Ordering::Relaxed);
    guard
}

#[inline]
fn running<'a>(guard: &'a mut Guard<'_>) -> &'a mut Hypervisor<Hardware> {
    guard.as_mut().expect("no guest runs before there is a hypervisor")
}

/// Does what comes next until a guest can run.
#[inline]
fn leave(guard: Guard<'_>, regs: &mut CpuUserRegs, next: Next) {
    let _guard = if next == Next::Guest { guard } else { wait(guard, regs, next) };
    // Under the lock: whoever takes it next sees where this processor is.
    local::this().leaves();
}

#[cold]
fn wait<'a>(mut guard: Guard<'a>, regs: &mut CpuUserRegs, mut next: Next) -> Guard<'a> {
    let local = local::this();
    loop {
        match next {
            Next::Guest => return guard,
            Next::Leave(why) => end(running(&mut guard), why),
            Next::Idle | Next::Work => {}
        }
        drop(guard);
        rest(local, next);
        guard = take();
        let hypervisor = running(&mut guard);
        hypervisor.enter();
        if local.timer_fired.swap(false, Ordering::Relaxed) {
            hypervisor.timer_interrupt();
        }
        if local.serial_fired.swap(false, Ordering::Relaxed) {
            hypervisor.console_interrupt();
        }
        next = hypervisor.prepare_return(regs);
    }
}

/// Takes the interrupts that wait, and where there is nothing to do sleeps until there is one. One that comes just
/// before the processor sleeps wakes it: STI holds interrupts back for one instruction more.
fn rest(local: &Local, next: Next) {
    if next == Next::Idle {
        local.idle.store(true, Ordering::Relaxed);
        interrupts::enable_and_hlt();
    } else {
        interrupts::enable();
        x86_64::instructions::nop();
    }
    interrupts::disable();
    local.turn();
    local.idle.store(false, Ordering::Relaxed);
    if local.timer_fired.load(Ordering::Relaxed) {
        watchdog::tick();
    }
}

/// What the command line says of what is done here.
struct Configuration {
    /// Whether the books are checked before the machine stops (`paravane.audit`).
    audit: bool,
    /// The watchdog's timeout in seconds.
    watchdog: Option<u32>,
    /// Whether the first processor stops instead of running guests (`paravane.stall`).
    stall: bool,
    /// Ticks from NMI to NMI (`paravane.nmi-storm=`).
    nmi_storm: Option<u16>,
}

static CONFIGURATION: Once<Configuration> = Once::new();

/// Takes what the command line says.
pub fn configure(options: &Options) {
    let Options { audit, watchdog, stall, nmi_storm, .. } = *options;
    CONFIGURATION.call_once(|| Configuration { audit, watchdog, stall, nmi_storm });
}

fn end(hypervisor: &Hypervisor<Hardware>, why: Leave) -> ! {
    hypervisor.trace.turns().for_each(|turn| log::info!("{turn}"));
    // Counting everything takes its time.
    watchdog::stop();
    storm::stop();
    if CONFIGURATION.get().is_some_and(|it| it.audit) {
        let wrong = hypervisor.recount();
        assert!(wrong.is_empty(), "audit: {} counts are wrong, the first: {}", wrong.len(), wrong[0]);
        log::info!("audit: all counts agree");
        digest::compare();
    }
    exit::leave(match why {
        Leave::PowerOff => Reason::PowerOff,
        Leave::Reboot => Reason::Reboot,
        Leave::Crash => Reason::GuestCrash,
    })
}

/// Another processor has come up: once there are domains it runs them like the first.
pub fn join() -> ! {
    while take().is_none() {
        rest(local::this(), Next::Idle);
    }
    serve()
}

/// Starts running domains, on all processors.
pub fn run(hypervisor: Hypervisor<Hardware>) -> ! {
    let configuration = CONFIGURATION.get();
    if configuration.is_some_and(|it| it.audit) {
        digest::remember();
    }
    watchdog::start(configuration.and_then(|it| it.watchdog));
    let mut guard = take();
    let hypervisor = guard.insert(hypervisor);
    (0..hypervisor.machine.cpus()).for_each(|cpu| hypervisor.machine.interrupt(cpu));
    storm::begin(configuration.and_then(|it| it.nmi_storm));
    while configuration.is_some_and(|it| it.stall) {
        core::hint::spin_loop();
    }
    drop(guard);
    serve()
}

/// Enters this processor's first guest, when there is one for it.
fn serve() -> ! {
    // SAFETY: the entry stack is mapped here in every address space and nothing stands on it yet.
    let regs = unsafe { &mut *(area::FRAME as *mut CpuUserRegs) };
    clock::arm(None);
    let mut guard = take();
    let hypervisor = running(&mut guard);
    hypervisor.enter();
    let next = hypervisor.prepare_return(regs);
    leave(guard, regs, next);
    // SAFETY: the frame at `area::FRAME` holds registers that `core` has checked.
    unsafe {
        core::arch::asm!("jmp {}", in(reg) &raw const entry::return_to_guest, options(noreturn));
    }
}
