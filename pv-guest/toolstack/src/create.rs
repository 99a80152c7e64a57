//! Builds a domain as Xen's tools do (libxl and libxenguest of Xen 4.17): the same calls in the same order, the same options.
//! What its memory holds is what Paravane's builder makes of the same plan.

use alloc::boxed::Box;
use alloc::vec::Vec;

use paravane_abi::domctl::{
    AddressSize, CreateDomain, DomctlVcpuContext, HypercallInit, MaxMem, MaxVcpus, XEN_DOMCTL_DESTROYDOMAIN,
    XEN_DOMCTL_HYPERCALL_INIT, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_SET_ADDRESS_SIZE,
    XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_UNPAUSEDOMAIN,
};
use paravane_abi::grant::{
    GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS,
    GnttabSetupTable, GrantEntryV1,
};
use paravane_abi::hypercall::{HYPERVISOR_GRANT_TABLE_OP, HYPERVISOR_MEMORY_OP};
use paravane_abi::memory::{E820_RAM, E820Entry, ForeignMemoryMap, MemoryMap, XENMEM_SET_MEMORY_MAP};
use paravane_abi::mmu::MMUEXT_PIN_L4_TABLE;
use paravane_abi::privileged::XEN_DOMCTL_CREATEDOMAIN;
use paravane_abi::regs::rflags;
use paravane_abi::segment::{FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS};
use paravane_abi::shared_info::SharedInfo;
use paravane_abi::vcpu::{VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext, mfn_to_cr3};
use paravane_core::addr::{Mfn, Pfn};
use paravane_core::build::{Plan, Populate, RingPorts, StartOfDay};
use pv_probe::hypercall::raw;
use zerocopy::IntoBytes;

use crate::calls::{
    Refused, alloc_unbound, bind_interdomain, checked, domain_info, domctl, mmuext, populate,
};
use crate::foreign::Window;
use crate::policy;
use crate::start::PAGE;

/// Highest event-channel port (xl.cfg's max_event_channels).
const PORT_MAX: u32 = 1023;

/// The highest version of its grant table.
const GRANT_VERSION: u32 = 2;

/// KiB that a domain may have beyond what it was configured with.
const SLACK_KIB: u64 = 1024;

/// log2 of the frames in 2 MiB, in which memory is given out as long as there is as much in one piece.
const LARGE: u32 = 9;

/// The debug registers that hold nothing.
const DR6_DEFAULT: u64 = 0xffff_0ff0;
const DR7_DEFAULT: u64 = 0x400;

/// A ring of a domain's that is served here.
#[derive(Debug)]
pub struct Ring {
    /// Its page.
    pub page: Window,
    /// This end of its event channel.
    pub port: u32,
    /// The frame, and the domain's end, by which the domain knows it.
    pub known_as: (Mfn, u32),
}

/// A domain that is there.
#[derive(Debug)]
pub struct Created {
    /// Its console.
    pub console: Ring,
    /// Its way to xenstore.
    pub store: Ring,
}

/// The frames of a domain that is built.
struct Frames<'a> {
    domain: u16,
    mfns: &'a [u64],
    window: Window,
    failure: Option<Refused>,
}

impl Populate for Frames<'_> {
    fn mfn(&self, pfn: Pfn) -> Mfn {
        Mfn::new(self.mfns[pfn.get() as usize])
    }

    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
        let frame = self.mfn(pfn).get();
        // Builders cannot fail halfway: the first failure is kept for its end.
        match self.window.show(self.domain, frame) {
            Ok(()) => self.window.write_bytes(offset, bytes),
            Err(error) => self.failure = self.failure.or(Some(error)),
        }
    }
}

/// Makes a domain of a number, which does not run yet.
pub fn create(plan: &Plan<'_>, domain: u16) -> Result<Created, Refused> {
    let config = CreateDomain {
        max_vcpus: plan.config.vcpus,
        max_evtchn_port: PORT_MAX,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: GRANT_VERSION,
        ..CreateDomain::default()
    };
    domctl("createdomain", XEN_DOMCTL_CREATEDOMAIN, domain, &config)?;
    build(plan, domain).inspect_err(|_| {
        // Nothing of it runs, and its refusal says more than that of its end.
        let _ = destroy(domain);
    })
}

/// Gives back all that a domain has. What of it is mapped here must be hidden before.
pub fn destroy(domain: u16) -> Result<(), Refused> {
    domctl("destroydomain", XEN_DOMCTL_DESTROYDOMAIN, domain, &()).map(drop)
}

fn build(plan: &Plan<'_>, domain: u16) -> Result<Created, Refused> {
    let ports = furnish(plan, domain)?;
    let mfns = allocate(domain, plan.config.nr_pages())?;
    let shared = domain_info(domain).map_or(0, |info| info.shared_info_frame);
    let mut frames = Frames { domain, mfns: &mfns, window: Window::new(), failure: None };
    let layout = plan.arrangement.pv().ok_or(Refused::no_pc())?;
    let start = plan.populate(Mfn::new(shared), ports, &mut frames);
    let start = start.pv().ok_or(Refused::no_pc())?;
    let Frames { mut window, failure, .. } = frames;
    failure.map_or(Ok(()), Err)?;
    // A page table may not be mapped writable anywhere.
    window.hide();
    let mfn = |pfn: Pfn| mfns[pfn.get() as usize];
    if let Some(page) = plan.image.notes.hypercall_page.and_then(|va| layout.pfn_at(va)) {
        let page = HypercallInit { gmfn: mfn(page) };
        domctl("hypercall_init", XEN_DOMCTL_HYPERCALL_INIT, domain, &page)?;
    }
    mmuext("pin_l4_table", MMUEXT_PIN_L4_TABLE, start.l4.get(), domain)?;
    clear_shared_info(&mut window, domain, shared)?;
    set_context(domain, start)?;
    seed_grants(&mut window, domain, mfn(start.console), mfn(start.xenstore))?;
    let serve = |pfn: Pfn, port: u32| -> Result<Ring, Refused> {
        let mut page = Window::new();
        page.show(domain, mfn(pfn))?;
        Ok(Ring { page, port: bind_interdomain(domain, port)?, known_as: (Mfn::new(mfn(pfn)), port) })
    };
    Ok(Created { console: serve(start.console, ports.console)?, store: serve(start.xenstore, ports.store)? })
}

/// Lets a domain run.
pub fn unpause(domain: u16) -> Result<(), Refused> {
    domctl("unpausedomain", XEN_DOMCTL_UNPAUSEDOMAIN, domain, &()).map(drop)
}

/// What a domain has besides memory: vcpus, limits, the ports of its rings, its memory map, its processor.
fn furnish(plan: &Plan<'_>, domain: u16) -> Result<RingPorts, Refused> {
    let config = &plan.config;
    domctl("max_vcpus", XEN_DOMCTL_MAX_VCPUS, domain, &MaxVcpus { max: config.vcpus })?;
    let most = MaxMem { max_memkb: config.maxmem_kib + SLACK_KIB };
    domctl("max_mem", XEN_DOMCTL_MAX_MEM, domain, &most)?;
    let ports = RingPorts { store: alloc_unbound(domain)?, console: alloc_unbound(domain)? };
    set_memory_map(domain, config.maxmem_kib)?;
    policy::apply(domain)?;
    domctl("set_address_size", XEN_DOMCTL_SET_ADDRESS_SIZE, domain, &AddressSize { size: 64 })?;
    Ok(ports)
}

/// One range of RAM.
fn set_memory_map(domain: u16, kib: u64) -> Result<(), Refused> {
    let entry = E820Entry { addr: 0, size: kib << 10, kind: E820_RAM };
    let buffer = &raw const entry as u64;
    let map = MemoryMap { nr_entries: 1, buffer, ..MemoryMap::default() };
    let argument = ForeignMemoryMap { domid: domain, map, ..ForeignMemoryMap::default() };
    let arguments = [XENMEM_SET_MEMORY_MAP.into(), &raw const argument as u64, 0, 0, 0];
    checked("set_memory_map", raw(HYPERVISOR_MEMORY_OP, arguments)).map(drop)
}

/// The domain's frames, by guest frame number.
fn allocate(domain: u16, count: u64) -> Result<Vec<u64>, Refused> {
    let mut mfns: Vec<u64> = Vec::with_capacity(count as usize);
    while count - mfns.len() as u64 >= 1 << LARGE {
        let mut extent = [mfns.len() as u64];
        if populate(domain, LARGE, &mut extent)? == 0 {
            break;
        }
        mfns.extend(extent[0]..extent[0] + (1 << LARGE));
    }
    let large = mfns.len();
    mfns.extend(large as u64..count);
    let got = populate(domain, 0, &mut mfns[large..])?;
    if got < mfns.len() - large {
        return Err(Refused::too_little_memory());
    }
    Ok(mfns)
}

/// The shared page as Xen's tools leave it: zeroes, but for the upcalls, which are masked.
fn clear_shared_info(window: &mut Window, domain: u16, frame: u64) -> Result<(), Refused> {
    let mut page = Box::new(SharedInfo::default());
    page.vcpu_info.iter_mut().for_each(|vcpu| vcpu.evtchn_upcall_mask = 1);
    window.show(domain, frame)?;
    window.write_bytes(0, page.as_bytes());
    window.hide();
    Ok(())
}

/// The first vcpu's registers.
fn set_context(domain: u16, start: &StartOfDay) -> Result<(), Refused> {
    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    let registers = &mut context.user_regs;
    (registers.rip, registers.rsp, registers.rsi) = (start.entry, start.rsp, start.rsi);
    registers.rflags = rflags::IF;
    (registers.cs, registers.ss) = (FLAT_KERNEL_CS, FLAT_KERNEL_SS);
    for selector in [&mut registers.ds, &mut registers.es, &mut registers.fs, &mut registers.gs] {
        *selector = FLAT_KERNEL_DS;
    }
    (context.kernel_ss, context.kernel_sp) = (FLAT_KERNEL_SS.into(), start.rsp);
    context.ctrlreg[3] = mfn_to_cr3(start.l4.get());
    (context.debugreg[6], context.debugreg[7]) = (DR6_DEFAULT, DR7_DEFAULT);
    let argument = DomctlVcpuContext { ctxt: &raw const *context as u64, ..DomctlVcpuContext::default() };
    domctl("setvcpucontext", XEN_DOMCTL_SETVCPUCONTEXT, domain, &argument).map(drop)
}

/// Grants the rings' pages to this domain, in the entries that are kept for it.
fn seed_grants(window: &mut Window, domain: u16, console: u64, xenstore: u64) -> Result<(), Refused> {
    let mut frame = 0u64;
    let mut argument = GnttabSetupTable {
        dom: domain,
        nr_frames: 1,
        frame_list: &raw mut frame as u64,
        ..GnttabSetupTable::default()
    };
    let arguments = [GNTTABOP_SETUP_TABLE.into(), &raw mut argument as u64, 1, 0, 0];
    checked("gnttab setup_table", raw(HYPERVISOR_GRANT_TABLE_OP, arguments))?;
    checked("gnttab setup_table", argument.status.into())?;
    window.show(domain, frame)?;
    for (reference, frame) in [(GNTTAB_RESERVED_CONSOLE, console), (GNTTAB_RESERVED_XENSTORE, xenstore)] {
        let entry = GrantEntryV1 { flags: GTF_PERMIT_ACCESS, domid: 0, frame: frame as u32 };
        window.write_bytes(reference as usize * size_of::<GrantEntryV1>(), entry.as_bytes());
    }
    window.hide();
    Ok(())
}

const _: () = assert!(size_of::<SharedInfo>() <= PAGE);
