//! What a domain finds in xenstore when it starts: the nodes that Xen's tools make.

use alloc::format;
use alloc::vec::Vec;

use super::{Access, Xenstore};
use crate::addr::{DomainId, Mfn};
use crate::build::DomainConfig;
use crate::event::Port;

/// What a domain has.
#[derive(Clone, Copy, Debug)]
pub struct Holdings<'a> {
    /// What was configured.
    pub config: &'a DomainConfig,
    /// The console's ring: its page, and the domain's port.
    pub console: (Mfn, Port),
    /// Xenstore's ring.
    pub store: (Mfn, Port),
}

impl Xenstore {
    /// A domain that may use it from now on, with what it has.
    pub fn introduce_with(&mut self, domain: DomainId, holdings: &Holdings<'_>) {
        let Holdings { config, console, store } = holdings;
        let number = |value: u64| format!("{value}").into_bytes();
        let (read, own) = (Access::Read, Access::Own);
        let mut nodes: Vec<(&str, Vec<u8>, Access)> = Vec::from([
            ("name", config.name.clone().into_bytes(), read),
            ("domid", number(domain.0.into()), read),
            ("memory/target", number(config.memory_kib), read),
            ("memory/static-max", number(config.memory_kib.max(config.maxmem_kib)), read),
            ("console/ring-ref", number(console.0.get()), read),
            ("console/port", number(console.1.into()), read),
            ("console/limit", number(1 << 20), read),
            ("console/type", b"xenconsoled".to_vec(), read),
            ("store/ring-ref", number(store.0.get()), read),
            ("store/port", number(store.1.into()), read),
            ("control/shutdown", Vec::new(), own),
            ("control/feature-poweroff", Vec::new(), own),
            ("control/feature-reboot", Vec::new(), own),
            ("control/feature-suspend", Vec::new(), own),
            ("control/sysrq", Vec::new(), own),
            ("device", Vec::new(), read),
        ]);
        nodes.extend(["data", "drivers", "feature", "attr", "error"].map(|name| (name, Vec::new(), own)));
        let processors: Vec<_> =
            (0..config.vcpus).map(|number| format!("cpu/{number}/availability")).collect();
        nodes.extend(processors.iter().map(|name| (name.as_str(), b"online".to_vec(), read)));
        self.introduce(domain, nodes.iter().map(|(name, value, access)| (*name, &value[..], *access)));
    }
}
