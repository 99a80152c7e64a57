//! What Xen gives its first domain.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::live::SharedPage;
use paravane_abi::start_info::StartInfo;
use paravane_core::console::Switch;
use pv_probe::hypercall::map;

/// What guest-physical address 0 is mapped at.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// An ordinary page: present, writable, for ring 3, accessed, dirty, not executable.
pub const DATA: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 63;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

// SAFETY: only its address is used before the shared page, all atomics, is mapped there.
unsafe impl Sync for Page {}

static SHARED: Page = Page(UnsafeCell::new([0; PAGE]));

/// Where the list of this domain's machine frames is.
static P2M: AtomicU64 = AtomicU64::new(0);

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The page shared with the hypervisor.
    pub shared: &'static SharedPage,
    /// The module: the boot archive.
    pub module: &'static [u8],
    /// The line has `conswitch=` with an `x` behind the letter: no domain gets the console by itself.
    pub console_kept: bool,
}

impl Start {
    /// Reads start_info and maps the shared page.
    ///
    /// # Safety
    /// To be called once, with the address in RSI at the first instruction.
    pub unsafe fn new(address: u64) -> Self {
        // SAFETY: the first mapping has start_info there.
        let info = unsafe { (address as *const StartInfo).read() };
        assert!(info.has_magic(), "start_info has no magic");
        P2M.store(info.mfn_list, Ordering::Relaxed);
        let shared = SHARED.0.get() as u64;
        let result = map(shared, info.shared_info | DATA);
        assert!(result == 0, "the shared page cannot be mapped: {result}");
        let module = match info.mod_len {
            0 => &[][..],
            // SAFETY: without a note MOD_START_PFN, the first mapping has the module there, and nobody writes to it.
            len => unsafe { core::slice::from_raw_parts(info.mod_start as *const u8, len as usize) },
        };
        // SAFETY: the shared page is mapped there for good, and all of it is atomics.
        let shared = unsafe { &*(shared as *const SharedPage) };
        let line = core::str::from_utf8(info.command_line()).unwrap_or("");
        let switch = line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("conswitch="));
        let console_kept = switch.and_then(Switch::parse).is_some_and(|switch| !switch.automatic);
        Self { shared, module, console_kept }
    }
}

/// The machine frame behind an address of the image.
pub fn frame_at(address: u64) -> u64 {
    let pfn = (address - VIRT_BASE) / PAGE as u64;
    // SAFETY: the builder's list has an entry for each page of the domain, of which the image is a part.
    unsafe { (P2M.load(Ordering::Relaxed) as *const u64).add(pfn as usize).read() }
}
