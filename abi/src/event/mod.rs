//! Event channels (`xen/event_channel.h`, `xen/xen.h`).
//!
//! A port has a pending and a mask bit in the shared-info page (the 2-level ABI; the [FIFO ABI](fifo) keeps them in pages
//! of the guest's). Argument structs are read from the guest's memory and, where they have fields marked *out*, written back.

pub mod fifo;

use crate::macros::{xen_constants, xen_structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::event_channel_op::*;

xen_constants! {
    /// Timer; per vcpu.
    pub const VIRQ_TIMER: u32 = 0;
    /// Asks the guest to print its state; per vcpu.
    pub const VIRQ_DEBUG: u32 = 1;
    /// Input on the hypervisor's console; global, control domain.
    pub const VIRQ_CONSOLE: u32 = 2;
    /// Something happened to a domain; global, control domain.
    pub const VIRQ_DOM_EXC: u32 = 3;
    /// Trace buffers have records; global, control domain.
    pub const VIRQ_TBUF: u32 = 4;
    /// A domain stopped for its debugger; global, control domain.
    pub const VIRQ_DEBUGGER: u32 = 6;
    /// A profiling sample; per vcpu.
    pub const VIRQ_XENOPROF: u32 = 7;
    /// Output on the hypervisor's console; global, control domain.
    pub const VIRQ_CON_RING: u32 = 8;
    /// A CPU came or went; global, control domain.
    pub const VIRQ_PCPU_STATE: u32 = 9;
    /// A memory event; global, control domain.
    pub const VIRQ_MEM_EVENT: u32 = 10;
    /// A message between domains; global.
    pub const VIRQ_ARGO: u32 = 11;
    /// The hypervisor's heap runs low; global, control domain.
    pub const VIRQ_ENOMEM: u32 = 12;
    /// A performance counter; per vcpu.
    pub const VIRQ_XENPMU: u32 = 13;
    /// First of the architecture's own; x86: a machine check; global, hardware domain.
    pub const VIRQ_ARCH_0: u32 = 16;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_1: u32 = 17;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_2: u32 = 18;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_3: u32 = 19;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_4: u32 = 20;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_5: u32 = 21;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_6: u32 = 22;
    /// The architecture's own; unused on x86.
    pub const VIRQ_ARCH_7: u32 = 23;
    /// Virtual interrupts there are room for.
    pub const NR_VIRQS: u32 = 24;
    /// In [`EvtchnBindPirq::flags`]: others may share the interrupt.
    pub const BIND_PIRQ_WILL_SHARE: u32 = 1 => BIND_PIRQ__WILL_SHARE;
    /// In [`EvtchnStatus::status`]: free.
    pub const EVTCHNSTAT_CLOSED: u32 = 0 => EVTCHNSTAT_closed;
    /// In [`EvtchnStatus::status`]: waiting for a domain to connect.
    pub const EVTCHNSTAT_UNBOUND: u32 = 1 => EVTCHNSTAT_unbound;
    /// In [`EvtchnStatus::status`]: connected.
    pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2 => EVTCHNSTAT_interdomain;
    /// In [`EvtchnStatus::status`]: a device's interrupt.
    pub const EVTCHNSTAT_PIRQ: u32 = 3 => EVTCHNSTAT_pirq;
    /// In [`EvtchnStatus::status`]: a virtual interrupt.
    pub const EVTCHNSTAT_VIRQ: u32 = 4 => EVTCHNSTAT_virq;
    /// In [`EvtchnStatus::status`]: between vcpus of the domain.
    pub const EVTCHNSTAT_IPI: u32 = 5 => EVTCHNSTAT_ipi;
    /// Ports of the 2-level ABI.
    pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;
    /// Highest FIFO priority.
    pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
    /// FIFO priority of a new port.
    pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
    /// Lowest FIFO priority.
    pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
    /// FIFO queues of a vcpu.
    pub const EVTCHN_FIFO_MAX_QUEUES: u32 = 16;
    /// Bit of a FIFO event word: pending.
    pub const EVTCHN_FIFO_PENDING: u32 = 31;
    /// Bit of a FIFO event word: masked.
    pub const EVTCHN_FIFO_MASKED: u32 = 30;
    /// Bit of a FIFO event word: in a queue.
    pub const EVTCHN_FIFO_LINKED: u32 = 29;
    /// Bit of a FIFO event word: being changed.
    pub const EVTCHN_FIFO_BUSY: u32 = 28;
    /// Bits of a FIFO event word that name the next port.
    pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
    /// Mask of those bits.
    pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
    /// Ports of the FIFO ABI.
    pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;
}

/// Whether the virtual interrupt is bound once per vcpu, rather than once per domain.
pub const fn virq_is_per_vcpu(virq: u32) -> bool {
    matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// The word of the 2-level bitmaps that holds a port's bit.
pub const fn word_of_port(port: u32) -> usize {
    port as usize / 64
}

/// The mask of a port's bit in its word.
pub const fn mask_of_port(port: u32) -> u64 {
    1 << (port % 64)
}

/// Argument of [`EVTCHNOP_ALLOC_UNBOUND`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnAllocUnbound {
    /// Domain that gets the port.
    pub dom: u16,
    /// Domain that may connect.
    pub remote_dom: u16,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_BIND_INTERDOMAIN`]: 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnBindInterdomain {
    /// Domain to connect to.
    pub remote_dom: u16,
    /// Padding.
    pub pad: u16,
    /// Its port.
    pub remote_port: u32,
    /// Out: the caller's port.
    pub local_port: u32,
}

/// Argument of [`EVTCHNOP_BIND_VIRQ`]: 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnBindVirq {
    /// `VIRQ_*`.
    pub virq: u32,
    /// Vcpu; 0 for a global one.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_BIND_PIRQ`]: 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnBindPirq {
    /// Device interrupt.
    pub pirq: u32,
    /// [`BIND_PIRQ_WILL_SHARE`] or 0.
    pub flags: u32,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_BIND_IPI`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnBindIpi {
    /// Vcpu to notify.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_CLOSE`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnClose {
    /// Port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_SEND`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnSend {
    /// Port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_STATUS`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnStatus {
    /// Domain that owns the port.
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// Port.
    pub port: u32,
    /// Out: `EVTCHNSTAT_*`.
    pub status: u32,
    /// Out: vcpu the port notifies.
    pub vcpu: u32,
    /// Out: what the status has: the domain (unbound); the domain and its port (interdomain); the interrupt (pirq,
    /// virq).
    pub u: [u32; 2],
}

/// Argument of [`EVTCHNOP_BIND_VCPU`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnBindVcpu {
    /// Port.
    pub port: u32,
    /// Vcpu to notify.
    pub vcpu: u32,
}

/// Argument of [`EVTCHNOP_UNMASK`]: 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnUnmask {
    /// Port.
    pub port: u32,
}

/// Argument of [`EVTCHNOP_RESET`]: 2 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnReset {
    /// Domain.
    pub dom: u16,
}

/// Argument of [`EVTCHNOP_INIT_CONTROL`]: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnInitControl {
    /// mfn of the page with the control block.
    pub control_gfn: u64,
    /// The control block's offset in it, in bytes.
    pub offset: u32,
    /// Vcpu.
    pub vcpu: u32,
    /// Out: [`EVTCHN_FIFO_LINK_BITS`].
    pub link_bits: u8,
    /// Padding.
    pub pad: [u8; 7],
}

/// Argument of [`EVTCHNOP_EXPAND_ARRAY`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnExpandArray {
    /// mfn of the next page of event words.
    pub array_gfn: u64,
}

/// Argument of [`EVTCHNOP_SET_PRIORITY`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnSetPriority {
    /// Port.
    pub port: u32,
    /// Priority, 0 the highest.
    pub priority: u32,
}

/// A vcpu's FIFO queue heads: 72 bytes, Xen's `struct evtchn_fifo_control_block`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnFifoControlBlock {
    /// A bit per queue that is not empty.
    pub ready: u32,
    /// Zero.
    pub reserved: u32,
    /// First port of each queue.
    pub head: [u32; 16],
}

/// Argument of `event_channel_op_compat`: 28 bytes. The argument of the operation lies at offset 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EvtchnOp {
    /// `EVTCHNOP_*`.
    pub cmd: u32,
    /// The operation's own argument.
    pub u: [u32; 6],
}

xen_structs! {
    "struct evtchn_op" = EvtchnOp { cmd, u }
    "struct evtchn_alloc_unbound" = EvtchnAllocUnbound { dom, remote_dom, port }
    "struct evtchn_bind_interdomain" = EvtchnBindInterdomain { remote_dom, remote_port, local_port } pad { pad }
    "struct evtchn_bind_virq" = EvtchnBindVirq { virq, vcpu, port }
    "struct evtchn_bind_pirq" = EvtchnBindPirq { pirq, flags, port }
    "struct evtchn_bind_ipi" = EvtchnBindIpi { vcpu, port }
    "struct evtchn_close" = EvtchnClose { port }
    "struct evtchn_send" = EvtchnSend { port }
    "struct evtchn_status" = EvtchnStatus { dom, port, status, vcpu, u } pad { pad }
    "struct evtchn_bind_vcpu" = EvtchnBindVcpu { port, vcpu }
    "struct evtchn_unmask" = EvtchnUnmask { port }
    "struct evtchn_reset" = EvtchnReset { dom }
    "struct evtchn_init_control" = EvtchnInitControl { control_gfn, offset, vcpu, link_bits, pad = "_pad" }
    "struct evtchn_expand_array" = EvtchnExpandArray { array_gfn }
    "struct evtchn_set_priority" = EvtchnSetPriority { port, priority }
    "struct evtchn_fifo_control_block" = EvtchnFifoControlBlock { ready, reserved = "_rsvd", head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_info::EVTCHN_WORDS;

    #[test]
    fn ports_fill_the_bitmaps() {
        assert_eq!(word_of_port(EVTCHN_2L_NR_CHANNELS - 1), EVTCHN_WORDS - 1);
        assert_eq!(mask_of_port(EVTCHN_2L_NR_CHANNELS - 1), 1 << 63);
        assert_eq!((word_of_port(65), mask_of_port(65)), (1, 2));
    }

    #[test]
    fn four_virqs_are_per_vcpu() {
        assert_eq!((0..NR_VIRQS).filter(|&virq| virq_is_per_vcpu(virq)).count(), 4);
    }
}
