//! The calls of privileged domains and of HVM domains. No domain is either, so what is here is the order of refusals, as
//! Xen's default policy gives them to an ordinary PV domain; and the one sub-operation of `hvm_op` that it may use.

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{
    HVM_NR_PARAMS, HvmGetMemType, HvmGetTime, HvmPagetableDying, HvmParam, HvmXentrace, TRC_SUBCLS_SHIFT,
};
use paravane_abi::hypercall::hvm_op::HvmCommand;
use paravane_abi::mmu::{DOMID_FIRST_RESERVED, DOMID_SELF};
use paravane_abi::privileged::{
    DM_OP_BUFFERS_MAX, DmOpBuf, Domctl, PlatformOp, Sysctl, XEN_DOMCTL_CREATEDOMAIN,
    XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_SHADOW_OP,
    XEN_SYSCTL_INTERFACE_VERSION, XENPF_INTERFACE_VERSION,
};

use super::{Answer, Call};
use crate::addr::DomainId;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// `platform_op`.
    pub(super) fn platform_op(&mut self, call: &mut Call<'_>) -> Answer {
        let request: PlatformOp = self.read_guest(call.args[0])?;
        let right = request.interface_version == XENPF_INTERFACE_VERSION;
        Err(if right { Errno::EPERM } else { Errno::EACCES }.into())
    }

    /// `sysctl`.
    pub(super) fn sysctl(&mut self, call: &mut Call<'_>) -> Answer {
        let request: Sysctl = self.read_guest(call.args[0])?;
        let right = request.interface_version == XEN_SYSCTL_INTERFACE_VERSION;
        Err(if right { Errno::EPERM } else { Errno::EACCES }.into())
    }

    /// `domctl`.
    pub(super) fn domctl(&mut self, call: &mut Call<'_>) -> Answer {
        let request: Domctl = self.read_guest(call.args[0])?;
        if request.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
            return Err(Errno::EACCES.into());
        }
        let found = match request.cmd {
            XEN_DOMCTL_CREATEDOMAIN => true,
            XEN_DOMCTL_GETDOMAININFO if request.domain >= DOMID_FIRST_RESERVED => {
                return Err(Errno::EINVAL.into());
            }
            // It looks for the next that there is.
            XEN_DOMCTL_GETDOMAININFO => self.domains.iter().any(|domain| domain.id.0 >= request.domain),
            _ => self.domain_index(DomainId(request.domain)).is_some(),
        };
        Err(if found { Errno::EPERM } else { Errno::ESRCH }.into())
    }

    /// `arch_1`, by which Xen goes on with a `domctl`.
    pub(super) fn arch_1(&mut self, call: &mut Call<'_>) -> Answer {
        let request: Domctl = self.read_guest(call.args[0])?;
        let right = request.interface_version == XEN_DOMCTL_INTERFACE_VERSION;
        if !right || request.cmd != XEN_DOMCTL_SHADOW_OP {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let known = self.domain_index(DomainId(request.domain)).is_some();
        Err(if known { Errno::EPERM } else { Errno::ESRCH }.into())
    }

    /// `kexec_op`.
    pub(super) fn kexec_op(&mut self, _: &mut Call<'_>) -> Answer {
        Err(Errno::EPERM.into())
    }

    /// `hypfs_op`.
    pub(super) fn hypfs_op(&mut self, _: &mut Call<'_>) -> Answer {
        Err(Errno::EPERM.into())
    }

    /// `xsm_op`: the default policy has nothing to ask.
    pub(super) fn xsm_op(&mut self, _: &mut Call<'_>) -> Answer {
        Err(Errno::ENOSYS.into())
    }

    /// `xenpmu_op`: as on Xen without `vpmu`.
    pub(super) fn xenpmu_op(&mut self, _: &mut Call<'_>) -> Answer {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// `dm_op`: no domain is of the kind that has a device model.
    pub(super) fn dm_op(&mut self, call: &mut Call<'_>) -> Answer {
        let (domid, count, buffers) = (call.args[0] as u16, call.args[1] as u32, call.args[2]);
        match count {
            0 => return Err(Errno::ENODATA.into()),
            1 => drop(self.read_guest::<DmOpBuf>(buffers)?),
            DM_OP_BUFFERS_MAX => drop(self.read_guest::<[DmOpBuf; 2]>(buffers)?),
            _ => return Err(Errno::E2BIG.into()),
        }
        self.check_other(domid)?;
        Err(Errno::EINVAL.into())
    }

    /// `hvm_op`.
    pub(super) fn hvm_op(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        match HvmCommand::from_number(call.args[0]).ok_or(Errno::ENOSYS)? {
            HvmCommand::GetTime => {
                let time = HvmGetTime { now: self.now() };
                self.write_guest(pointer, &time)?;
                Ok(0)
            }
            HvmCommand::SetParam | HvmCommand::GetParam => {
                let request: HvmParam = self.read_guest(pointer)?;
                if request.index < HVM_NR_PARAMS {
                    self.find(request.domid)?;
                }
                Err(Errno::EINVAL.into())
            }
            HvmCommand::GetMemType => {
                let request: HvmGetMemType = self.read_guest(pointer)?;
                self.check_domain(request.domid)?;
                Err(Errno::EINVAL.into())
            }
            HvmCommand::PagetableDying => {
                let request: HvmPagetableDying = self.read_guest(pointer)?;
                self.find(request.domid)?;
                let own = request.domid == DOMID_SELF || request.domid == self.domain().id.0;
                Err(if own { Errno::EINVAL } else { Errno::EOPNOTSUPP }.into())
            }
            HvmCommand::Xentrace => {
                let request: HvmXentrace = self.read_guest(pointer)?;
                let long = usize::from(request.extra_bytes) > request.extra.len();
                if long || request.event >> TRC_SUBCLS_SHIFT != 0 {
                    return Err(Errno::EINVAL.into());
                }
                // There is no trace to write to, as on Xen while nobody traces.
                Ok(0)
            }
            HvmCommand::GuestRequestVmEvent if pointer == 0 => Ok(0),
            HvmCommand::GuestRequestVmEvent | HvmCommand::FlushTlbs | HvmCommand::SetEvtchnUpcallVector => {
                Err(Errno::EINVAL.into())
            }
            HvmCommand::Altp2m => Err(Errno::EOPNOTSUPP.into()),
        }
    }
}
