//! CPUs come up and go down.
//!
//! A vcpu is described to the hypervisor once, by a whole `vcpu_guest_context`, and brought up. One that goes down stays as
//! it is, in the middle of the call that took it down, and continues there when it comes up again.

use core::fmt::Write;
use core::ptr;
use core::sync::atomic::Ordering;

use paravane_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_INITIALISE, VCPUOP_IS_UP, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPUOP_REGISTER_VCPU_INFO, VCPUOP_STOP_PERIODIC_TIMER, VCPUOP_UP, VcpuRegisterRunstateMemoryArea,
    VcpuRegisterVcpuInfo,
};
use pv_guest_logic::options;

use super::ipi::{self, Ipi};
use super::{Cpu, CpuSet, KNOWN, MAX_CPUS, ONLINE, get, lock, online, this};
use crate::arch::boot as image;
use crate::arch::fpu;
use crate::arch::stack::KernelStack;
use crate::cpu_ops::hypercall::{self, check};
use crate::cpu_ops::{Refused, VcpuState, facts, machine, pv};
use crate::errno::{Errno, Result};
use crate::mm::addr::{PAGE, Pfn};
use crate::process::sched;
use crate::{boot, mm};

fn vcpu_op<T>(command: u32, id: u32, argument: *mut T) -> core::result::Result<u64, Refused> {
    if !facts().hypercalls {
        return Err(Refused(crate::errno::to_ret(Err(Errno::ENOSYS))));
    }
    // SAFETY: each caller passes the command's own struct, which lives until the call returns, or memory that lives
    // for good.
    check(unsafe { hypercall::vcpu_op(command, id, argument.cast()) })
}

/// Takes the running vcpu down; returns when it is up again.
pub(super) fn vcpu_down(id: u32) {
    // Refused only for a vcpu that does not exist.
    let _ = vcpu_op::<()>(VCPUOP_DOWN, id, ptr::null_mut());
}

/// Whether the hypervisor says that a vcpu is up; `None` when there is none of this number.
fn vcpu_is_up(id: u32) -> Option<bool> {
    vcpu_op::<()>(VCPUOP_IS_UP, id, ptr::null_mut()).ok().map(|up| up != 0)
}

/// The machine's frame number and the offset in it of an address in the image.
fn machine_address(address: u64) -> (u64, u32) {
    (Pfn((address - crate::arch::notes::VIRT_BASE) / PAGE).mfn().0, (address % PAGE) as u32)
}

impl Cpu {
    /// Tells the hypervisor where to keep the CPU's shared state and times.
    fn register(&self) {
        let info = self.registered.info.get();
        let (mfn, offset) = machine_address(info as u64);
        let mut request = VcpuRegisterVcpuInfo { mfn, offset, rsvd: 0 };
        if vcpu_op(VCPUOP_REGISTER_VCPU_INFO, self.id(), &raw mut request).is_ok() {
            self.state.store(info, Ordering::Relaxed);
        }
        let mut area = VcpuRegisterRunstateMemoryArea { addr: self.registered.runstate.get() as u64 };
        // Without it the times read as zeros, and nothing depends on them.
        let _ = vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, self.id(), &raw mut area);
    }

    /// Makes the CPU known to the hypervisor, once.
    fn initialise(&'static self, id: u32) -> Result<()> {
        self.id.store(id, Ordering::Relaxed);
        let stack = KernelStack::new()?;
        let info = ptr::from_ref(stack.info()).cast_mut();
        // The CPU keeps its stack for good.
        core::mem::forget(stack);
        self.stack.store(info, Ordering::Relaxed);
        self.stack().cpu.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        self.state.store(VcpuState::shared_slot(id), Ordering::Relaxed);
        self.register();
        let mut context =
            pv::vcpu_context(image::cpu_start_address(), self.stack().top(), mm::kernel_roots());
        vcpu_op(VCPUOP_INITIALISE, id, &raw mut *context).map_err(|_| Errno::EINVAL)?;
        self.set_root(mm::kernel_root().mfn());
        KNOWN.fetch_or(CpuSet::one(id).0, Ordering::SeqCst);
        Ok(())
    }
}

/// Where a further vcpu enters Rust, on its own stack and without the kernel lock.
#[unsafe(no_mangle)]
extern "C" fn cpu_main() -> ! {
    fpu::enable();
    arrive();
    lock::acquire();
    sched::idle_loop()
}

/// What a vcpu does when it has come up: it is then online.
fn arrive() {
    let cpu = this();
    cpu.armed.store(u64::MAX, Ordering::Relaxed);
    cpu.slice_end.store(0, Ordering::Relaxed);
    // Fails only where there is no such timer.
    let _ = vcpu_op::<()>(VCPUOP_STOP_PERIODIC_TIMER, cpu.id(), ptr::null_mut());
    ONLINE.fetch_or(CpuSet::one(cpu.id()).0, Ordering::SeqCst);
}

/// Takes this CPU down, which has nothing to do; returns when it has come up again. The kernel lock is held before and
/// after.
pub fn leave() {
    let cpu = this();
    machine().set_timer(None);
    ONLINE.fetch_and(!CpuSet::one(cpu.id()).0, Ordering::SeqCst);
    // Somebody may wait for an answer that this CPU was to give at its next event.
    ipi::called();
    lock::without(|| {
        vcpu_down(cpu.id());
        arrive();
    });
}

fn valid(id: u32) -> Result<&'static Cpu> {
    if (id as usize) < MAX_CPUS { Ok(get(id)) } else { Err(Errno::EINVAL) }
}

/// Brings a CPU up, and returns when it runs.
pub fn up(id: u32) -> Result<()> {
    let cpu = valid(id)?;
    if online().contains(id) {
        return Err(Errno::EEXIST);
    }
    if vcpu_is_up(id).is_none() {
        return Err(Errno::ENODEV);
    }
    if !super::known().contains(id) {
        cpu.initialise(id)?;
    }
    cpu.wanted.store(true, Ordering::SeqCst);
    // Until it comes to its idle loop, it takes no events.
    cpu.state().mask().store(1, Ordering::SeqCst);
    cpu.bind_ports();
    vcpu_op::<()>(VCPUOP_UP, id, ptr::null_mut()).map_err(|_| Errno::EIO)?;
    lock::without(|| {
        while !online().contains(id) {
            machine().yield_cpu();
        }
    });
    Ok(())
}

/// Takes a CPU down, and returns when the hypervisor says that it is. The first one stays: it has the console.
pub fn down(id: u32) -> Result<()> {
    let cpu = valid(id)?;
    if id == 0 || id == this().id() {
        return Err(Errno::EBUSY);
    }
    if !online().contains(id) {
        return Err(Errno::ENODEV);
    }
    cpu.wanted.store(false, Ordering::SeqCst);
    sched::interrupt(cpu);
    lock::without(|| {
        while online().contains(id) || vcpu_is_up(id) == Some(true) {
            machine().yield_cpu();
        }
    });
    cpu.close_ports();
    // What it had to do may be due here.
    sched::rearm();
    Ok(())
}

/// The first CPU's share: moves its shared state, gives it its ports. On a bare machine it has neither.
pub fn init_first() {
    if !facts().hypercalls {
        return;
    }
    let cpu = get(0);
    cpu.register();
    cpu.bind_ports();
    let _ = vcpu_op::<()>(VCPUOP_STOP_PERIODIC_TIMER, 0, ptr::null_mut());
}

/// Brings up all CPUs there are, at most `maxcpus=`.
pub fn bring_up_all() {
    let most = options::number(boot::cmdline(), "maxcpus").unwrap_or(MAX_CPUS as u64).min(MAX_CPUS as u64);
    for id in 1..most as u32 {
        match up(id) {
            Ok(()) => {}
            Err(Errno::ENODEV) => break,
            Err(error) => {
                log::error!("cpu {id} did not come up: {error:?}");
                break;
            }
        }
    }
}

/// A line for each CPU: its state, and what it has done.
pub fn report(out: &mut dyn Write) -> core::fmt::Result {
    for id in super::known().iter() {
        let cpu = get(id);
        let [running, runnable, blocked, offline] = cpu.runstate_ns();
        writeln!(
            out,
            "cpu {id} {} switches {} busy-ns {} running-ns {running} runnable-ns {runnable} blocked-ns {blocked} \
             offline-ns {offline}",
            if online().contains(id) { "up" } else { "down" },
            cpu.switches.load(Ordering::Relaxed),
            cpu.busy_ns.load(Ordering::Relaxed),
        )?;
    }
    writeln!(out, "lock parks {}", lock::parks())
}

/// Carries out a word and a number: `up N`, `down N`, `call 0`.
pub fn command(text: &str) -> Result<()> {
    let (word, number) = text.trim().split_once(' ').ok_or(Errno::EINVAL)?;
    let id = number.parse().map_err(|_| Errno::EINVAL)?;
    match word {
        "up" => up(id),
        "down" => down(id),
        "interrupt" => {
            let cpu = valid(id)?;
            if !online().contains(id) || !facts().hypercalls {
                return Err(Errno::ENODEV);
            }
            ipi::send(cpu, Ipi::Reschedule);
            Ok(())
        }
        "call" => {
            ipi::call_others(|| ());
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}
