//! What the hypervisor keeps for each processor: which vcpu it runs, and until when.

use crate::addr::Mfn;
use crate::domain::InfoPlace;
use crate::sched::VcpuKey;

/// A processor.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// Its number.
    pub number: usize,
    /// It runs a vcpu: the one that `domain` and `vcpu` name.
    pub busy: bool,
    /// Index of the domain whose vcpu runs, or ran last.
    pub domain: usize,
    /// Number of the vcpu that runs, or ran last.
    pub vcpu: usize,
    /// Since when the vcpu that runs has been running, in system time.
    pub since: u64,
    /// The vcpu whose state the registers still hold. It has been saved, so that another processor may take it
    /// up; this one need not load it again if none did.
    pub resident: Option<VcpuKey>,
    /// Where the running vcpu's `vcpu_info` is, for the look at every return.
    pub info: InfoPlace,
    /// The next return must look whom to run: something has changed since the last one.
    pub attention: bool,
    /// The vcpu that runs, or ran last, is a PC's.
    pub pc: bool,
    /// Whether ring-3 code segments are marked present (invariant 8).
    pub user_code_present: bool,
    /// When the scheduler wants to be asked again, in system time.
    pub slice_end: Option<u64>,
    /// The deadline that the timer is armed for, in system time.
    pub armed: Option<u64>,
}

impl Cpu {
    /// A processor that has not run anything.
    pub const fn new(number: usize) -> Self {
        Self {
            number,
            busy: false,
            domain: 0,
            vcpu: 0,
            since: 0,
            resident: None,
            info: InfoPlace { frame: Mfn::new(0), offset: 0, registered: false },
            attention: true,
            pc: false,
            user_code_present: true,
            slice_end: None,
            armed: None,
        }
    }

    /// Whether it runs a vcpu of the domain at an index.
    pub const fn runs_domain(&self, domain: usize) -> bool {
        self.busy && self.domain == domain
    }

    /// Whether it runs this vcpu.
    pub const fn runs(&self, domain: usize, vcpu: usize) -> bool {
        self.runs_domain(domain) && self.vcpu == vcpu
    }

    /// The domain at `index` has left the list: those behind it moved up.
    pub fn domain_removed(&mut self, index: usize) {
        if self.domain > index {
            self.domain -= 1;
        }
    }
}
