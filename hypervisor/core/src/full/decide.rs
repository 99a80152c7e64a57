//! Which instruction does what.

use super::Host;
use super::event::{Event, Kind};
use super::memory::GuestLinear;
use super::ports::{PortAccess, PortStep};
use super::state::{FullCpu, cr4};
use super::step::{Effect, Refused, Step};
use crate::emulate::{Form, Mode, StringIo, TableOp};
use iced_x86::Mnemonic;

/// What an instruction comes to.
pub(super) enum Decided {
    /// The step is to be committed.
    Done,
    /// An event is to be delivered in its place.
    Raise(Event),
    /// A port is to be used.
    Port(PortAccess),
    /// A repeated port instruction whose count is 0.
    Nothing(StringIo),
}

/// What a program may execute, as far as it reaches the hypervisor. Everything else is the exception the real processor
/// raised.
fn user_may(cpu: &FullCpu, form: Form) -> bool {
    match form {
        Form::Port { .. }
        | Form::StringPort { .. }
        | Form::Int(_)
        | Form::LoadSegment(_)
        | Form::PopSegment(_)
        | Form::LoadPointer(_)
        | Form::Base { .. }
        | Form::Xgetbv
        | Form::Cpuid
        | Form::Sysenter => true,
        Form::Cli | Form::Sti => cpu.iopl == 3,
        Form::Rdtsc | Form::Rdtscp => cpu.cr4 & cr4::TSD == 0,
        // The real CR4.UMIP is on also where the guest's is off.
        Form::Table(TableOp::Sgdt | TableOp::Sidt | TableOp::Sldt | TableOp::Str | TableOp::Smsw) => {
            cpu.cr4 & cr4::UMIP == 0
        }
        _ => false,
    }
}

/// Decides one instruction. The step's copies have changed only if the answer is [`Decided::Done`], or are to be
/// dropped.
pub(super) fn decide<M: GuestLinear, H: Host>(
    step: &mut Step<'_, M, H>,
    form: Form,
) -> Result<Decided, Refused> {
    if step.cpu.mode == Mode::User && !user_may(&step.cpu, form) {
        return Err(Refused::NotOurs);
    }
    match form {
        Form::Int(vector) => return Ok(Decided::Raise(software(step, vector))),
        Form::Port { .. } | Form::StringPort { .. } => {
            return Ok(match step.port(form)? {
                PortStep::Access(access) => Decided::Port(access),
                PortStep::Nothing(io) => Decided::Nothing(io),
            });
        }
        _ => {}
    }
    if !processor_state(step, form)? {
        transfer(step, form)?;
    }
    Ok(Decided::Done)
}

/// `int1` needs no gate that lets the program in; `int 1` does.
fn software<M: GuestLinear, H: Host>(step: &Step<'_, M, H>, vector: u8) -> Event {
    let next = step.next();
    match step.instruction.mnemonic() {
        Mnemonic::Int1 => Event { kind: Kind::Icebp { next }, ..Event::software(vector, next) },
        _ => Event::software(vector, next),
    }
}

/// Instructions that read or write the processor's own registers; whether it was one.
fn processor_state<M: GuestLinear, H: Host>(step: &mut Step<'_, M, H>, form: Form) -> Result<bool, Refused> {
    match form {
        Form::Cli => step.cli(),
        Form::Sti => step.sti(),
        Form::Hlt => step.hlt(),
        Form::Clts => step.clts(),
        Form::ReadCr { cr, to } => step.read_cr(cr, to)?,
        Form::WriteCr { cr, from } => {
            let value = from.read(&step.regs);
            step.write_cr(cr, value)?;
        }
        Form::ReadDr { dr, to } => step.read_dr(dr, to)?,
        Form::WriteDr { dr, from } => {
            let value = from.read(&step.regs);
            step.write_dr(dr, value)?;
        }
        Form::Table(op) => step.table_op(op)?,
        Form::Rdmsr => step.rdmsr()?,
        Form::Wrmsr => step.wrmsr()?,
        Form::Rdtsc => step.rdtsc(),
        Form::Rdtscp => step.rdtscp()?,
        Form::Cpuid => step.cpuid(),
        Form::Xsetbv => step.xsetbv()?,
        Form::Xgetbv => step.xgetbv()?,
        Form::Invlpg => step.invlpg(),
        Form::Invd | Form::Wbinvd | Form::Wbnoinvd => step.effect = Effect::FlushCaches,
        Form::Swapgs => step.swapgs(),
        Form::SetAc(set) => step.set_ac(set),
        Form::Base { segment, write } => step.base(segment, write)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Instructions that go elsewhere, load selectors or look at them.
fn transfer<M: GuestLinear, H: Host>(step: &mut Step<'_, M, H>, form: Form) -> Result<(), Refused> {
    match form {
        Form::Iretq => step.iret(8),
        Form::NarrowIret(width) => step.iret(width),
        Form::Sysret => step.sysret(),
        Form::Sysexit => step.sysexit(),
        Form::Sysenter => step.sysenter(),
        Form::FarReturn => step.far_return(),
        Form::FarJump => step.far_transfer(false),
        Form::FarCall => step.far_transfer(true),
        Form::LoadSegment(segment) => step.load_segment(segment),
        Form::PopSegment(segment) => step.pop_segment(segment),
        Form::LoadPointer(segment) => step.load_pointer(segment),
        Form::StoreSegment(segment) => step.store_segment(segment),
        Form::Popf => step.popf(),
        Form::Pushf => step.pushf(),
        Form::Lar | Form::Lsl | Form::Verr | Form::Verw => step.inspect(form),
        // `rdpmc` has no counters to read; the rest is not privileged, or not there.
        _ => Err(Refused::NotOurs),
    }
}
