//! What the hypervisor boots with: one archive whose members are the modules, the device tree first.

use paravane_core::build::bundle::{self, Member};
use paravane_core::build::devicetree::{self, DomainConfig};

/// A domain to be built at boot.
#[derive(Clone, Debug)]
pub struct Domain {
    /// What the device tree says of it, but for the modules.
    pub config: DomainConfig,
    /// Its kernel.
    pub kernel: Vec<u8>,
    /// Its first file system, if it has one.
    pub ramdisk: Option<Vec<u8>>,
}

/// Packs domains. What several of them share is packed once.
pub fn pack(domains: &[Domain]) -> Vec<u8> {
    let mut modules: Vec<(String, &[u8])> = Vec::new();
    let mut place = |kind: &str, data| {
        let known = modules.iter().position(|(_, other)| *other == data);
        let index = known.unwrap_or_else(|| {
            modules.push((format!("{kind}{}", modules.len() + 1), data));
            modules.len() - 1
        });
        // Module 0 is the device tree.
        index + 1
    };
    let configs: Vec<DomainConfig> = domains
        .iter()
        .map(|domain| DomainConfig {
            kernel: place("kernel", domain.kernel.as_slice()),
            ramdisk: domain.ramdisk.as_deref().map(|ramdisk| place("ramdisk", ramdisk)),
            ..domain.config.clone()
        })
        .collect();
    let tree = devicetree::write(&configs);
    let first = Member { name: "devicetree", data: &tree };
    let members: Vec<Member<'_>> =
        [first].into_iter().chain(modules.iter().map(|(name, data)| Member { name, data })).collect();
    bundle::write(&members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hypervisor_reads_what_is_packed() {
        let domain = |name: &str, kernel: &[u8]| {
            let mut config = DomainConfig::new(name, 65536, 0);
            config.cmdline = format!("role={name}");
            Domain { config, kernel: kernel.to_vec(), ramdisk: Some(b"RAMDISK".to_vec()) }
        };
        let bytes = pack(&[domain("a", b"KERNEL"), domain("b", b"OTHER"), domain("c", b"KERNEL")]);
        let members = bundle::read(&bytes).unwrap();
        assert_eq!(members.len(), 4, "what is the same is there once");
        let domains = devicetree::read(members[0].data, members.len()).unwrap();
        let kernels: Vec<&[u8]> = domains.iter().map(|config| members[config.kernel].data).collect();
        assert_eq!(kernels, [b"KERNEL".as_slice(), b"OTHER", b"KERNEL"]);
        assert!(domains.iter().all(|config| members[config.ramdisk.unwrap()].data == b"RAMDISK"));
        assert_eq!(domains[2].cmdline, "role=c");
    }
}
