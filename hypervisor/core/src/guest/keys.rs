//! What the hypervisor does when keys are typed to it.

use crate::addr::DomainId;
use crate::console::{HELP, Request, Wish};
use crate::domain::Life;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// Takes a key that is the hypervisor's own.
    pub(super) fn obey(&mut self, key: u8) {
        match self.terminal.keys.press(key) {
            None => {}
            Some(Wish::Help) => log::warn!("'h' pressed: keys are {HELP}"),
            Some(Wish::Domains) => self.show_domains(),
            Some(Wish::Number(request)) => {
                log::warn!("{}: type a domain's number and Enter, or Enter for all", request.text());
            }
            Some(Wish::Nothing) => log::warn!("no number of a domain: nothing is done"),
            Some(Wish::Ask(request, domain)) => self.ask_domains(request, domain),
        }
    }

    fn show_domains(&self) {
        log::warn!("'q' pressed: domains and their vcpus");
        for domain in &self.domains {
            let up = domain.vcpus.iter().filter(|vcpu| vcpu.up).count();
            let awake = domain.vcpus.iter().filter(|vcpu| vcpu.awake).count();
            let (id, name, life, vcpus) = (domain.id, &domain.name, domain.life, domain.vcpus.len());
            log::warn!("{id} '{name}': {life:?}; {vcpus} vcpus, {up} up, {awake} awake");
        }
    }

    /// Writes a request to one domain, or to all, where they watch for it. What they do then is theirs.
    fn ask_domains(&mut self, request: Request, wanted: Option<DomainId>) {
        let Self { domains, store, .. } = self;
        let there = domains.iter().filter(|domain| domain.life != Life::Dying);
        let mut asked = 0;
        for domain in there.filter(|domain| wanted.is_none_or(|wanted| wanted == domain.id)) {
            store.write(domain.id, "control/shutdown", request.text().as_bytes());
            log::warn!("{} '{}' is asked: {}", domain.id, domain.name, request.text());
            asked += 1;
        }
        if asked == 0 {
            log::warn!("there is no such domain");
        }
        self.tell_watchers();
    }
}
