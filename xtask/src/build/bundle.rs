//! What the hypervisor boots with: one archive whose members are the modules, the device tree first.

use paravane_core::build::bundle::{self, Member};
use paravane_core::build::devicetree::{self, DomainConfig};

/// A domain to be built at boot.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// Its virtual processors.
    pub vcpus: u32,
    /// Its kernel.
    pub kernel: &'a [u8],
    /// Its first file system.
    pub ramdisk: &'a [u8],
    /// Its kernel's command line.
    pub arguments: &'a str,
}

/// Packs one domain: the kernel is module 1, its first file system module 2.
pub fn pack(domain: &Domain<'_>) -> Vec<u8> {
    let mut config = DomainConfig::new("guest", domain.memory_kib, 1);
    config.ramdisk = Some(2);
    config.vcpus = domain.vcpus;
    config.cmdline = domain.arguments.to_owned();
    let tree = devicetree::write(&[config]);
    bundle::write(&[
        Member { name: "devicetree", data: &tree },
        Member { name: "kernel", data: domain.kernel },
        Member { name: "ramdisk", data: domain.ramdisk },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hypervisor_reads_what_is_packed() {
        let domain =
            Domain { memory_kib: 65536, vcpus: 1, kernel: b"KERNEL", ramdisk: b"RAMDISK", arguments: "demo" };
        let bytes = pack(&domain);
        let members = bundle::read(&bytes).unwrap();
        assert_eq!(members.len(), 3);
        let domains = devicetree::read(members[0].data, members.len()).unwrap();
        assert_eq!(domains.len(), 1);
        let config = &domains[0];
        assert_eq!((config.memory_kib, config.vcpus, config.cmdline.as_str()), (65536, 1, "demo"));
        assert_eq!(members[config.kernel].data, b"KERNEL");
        assert_eq!(members[config.ramdisk.unwrap()].data, b"RAMDISK");
    }
}
