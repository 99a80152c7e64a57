//! The domains' lives: built in the order of the device tree, served while they run, and what was configured when they stop.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::arch::x86_64::_rdtsc;
use core::fmt;
use core::sync::atomic::Ordering;

use paravane_abi::event::{VIRQ_CONSOLE, VIRQ_DOM_EXC, mask_of_port, word_of_port};
use paravane_abi::live::SharedPage;
use paravane_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT};
use paravane_core::addr::DomainId;
use paravane_core::boot::Module;
use paravane_core::build::plan::BuildError;
use paravane_core::build::{Action, MachineKind, Plan, bundle, devicetree};
use paravane_core::domain::Shutdown;
use paravane_core::xenstore::{Holdings, Xenstore, ring};

use crate::calls::{Refused, bind_virq, close, domain_info, notify, poll};
use crate::console::{Console, Terminal};
use crate::create::{Created, Ring, create, destroy, unpause};
use crate::start::Start;

/// Nanoseconds after which everything is looked at, whether somebody asked for it or not.
const LOOK: u64 = 100_000_000;

/// Most ports that a poll can wait for.
const POLL_MOST: usize = 128;

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Failure {
    /// The boot archive, or what it says, is refused.
    Plan(Box<BuildError>),
    /// A domain cannot be built.
    Domain(String, Refused),
    /// Something that the toolstack needs for itself.
    Own(Refused),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => write!(f, "no domain can be built: {error}"),
            Self::Domain(name, error) => write!(f, "domain '{name}' cannot be built: {error}"),
            Self::Own(error) => error.fmt(f),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Self::Own(error)
    }
}

/// A domain that is there.
struct Guest {
    plan: Plan<'static>,
    domain: u16,
    console: Console,
    store: Ring,
    restarts: u32,
    /// It has stopped, and stays as it is.
    preserved: bool,
}

/// Everything.
struct Toolstack {
    shared: &'static SharedPage,
    terminal: Terminal,
    guests: Vec<Guest>,
    store: Xenstore,
    /// The ports of the toolstack's own: stopped domains, and typed bytes.
    own: [u32; 2],
    /// The worst end of a domain, as this domain's own (`SHUTDOWN_*`): crashes are worse than reboots, these than all else.
    verdict: u32,
}

/// Runs the domains of the boot archive to their ends: how this domain is to end.
pub fn run(start: &Start) -> Result<u32, Failure> {
    let mut toolstack = Toolstack {
        shared: start.shared,
        terminal: Terminal::new(start.console_kept),
        guests: Vec::new(),
        store: Xenstore::new(),
        own: [bind_virq(VIRQ_DOM_EXC)?, bind_virq(VIRQ_CONSOLE)?],
        verdict: SHUTDOWN_POWEROFF,
    };
    for plan in plans(start.module)? {
        let domain = match plan.config.domid {
            0 => toolstack.free_domain(),
            domain => domain,
        };
        let name = plan.config.name.clone();
        toolstack.add(plan, domain, 0).map_err(|error| Failure::Domain(name, error))?;
    }
    while toolstack.guests.iter().any(|guest| !guest.preserved) {
        toolstack.wait()?;
        toolstack.serve();
        toolstack.retire();
    }
    Ok(toolstack.verdict)
}

/// What the boot archive asks for. Kernels that could run in ring 1 as well run in ring 3 here.
fn plans(module: &'static [u8]) -> Result<Vec<Plan<'static>>, BuildError> {
    let members = bundle::expand(&[Module::from(module)])?;
    let tree = members.first().ok_or(BuildError::NoModules)?.data;
    let configs = devicetree::read(tree, members.len())?;
    configs
        .into_iter()
        .map(|mut config| {
            config.machine = Some(MachineKind::PvRing3);
            let kernel = members[config.kernel].data;
            let ramdisk = config.ramdisk.map_or(&[][..], |index| members[index].data);
            Plan::new(config, kernel, ramdisk)
        })
        .collect()
}

impl Toolstack {
    /// The lowest number that no domain has or is to have.
    fn free_domain(&self) -> u16 {
        let taken = |domain: u16| {
            self.guests.iter().any(|guest| guest.domain == domain || guest.plan.config.domid == domain)
        };
        (1..).find(|domain| !taken(*domain) && domain_info(*domain).is_none()).unwrap_or(u16::MAX)
    }

    fn add(&mut self, plan: Plan<'static>, domain: u16, restarts: u32) -> Result<(), Refused> {
        let Created { console, mut store } = create(&plan, domain)?;
        let holdings = Holdings { config: &plan.config, console: console.known_as, store: store.known_as };
        self.store.introduce_with(DomainId(domain), &holdings);
        ring::open(&mut store.page);
        self.terminal.offer(domain);
        let console = Console::new(domain, console);
        self.guests.push(Guest { plan, domain, console, store, restarts, preserved: false });
        unpause(domain)
    }

    /// Waits until something has happened, or a while.
    fn wait(&self) -> Result<(), Refused> {
        let rings = self.guests.iter().flat_map(|guest| [guest.console.port(), guest.store.port]);
        let ports: Vec<u32> = self.own.into_iter().chain(rings).take(POLL_MOST).collect();
        poll(&ports, now(self.shared) + LOOK)?;
        for port in ports {
            // What is raised from here on is for the next time.
            if let Some(word) = self.shared.evtchn_pending.get(word_of_port(port)) {
                word.fetch_and(!mask_of_port(port), Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn serve(&mut self) {
        self.terminal.listen();
        for guest in &mut self.guests {
            self.terminal.serve(&mut guest.console);
            if ring::serve(&mut guest.store.page, &mut self.store, DomainId(guest.domain)) {
                notify(guest.store.port);
            }
        }
        // What one has changed, others may watch.
        for guest in &mut self.guests {
            if ring::give(&mut guest.store.page, &mut self.store, DomainId(guest.domain)) {
                notify(guest.store.port);
            }
        }
    }

    /// Looks for domains that have stopped, and does what was configured for it.
    fn retire(&mut self) {
        let mut index = 0;
        while index < self.guests.len() {
            let guest = &self.guests[index];
            let reason = domain_info(guest.domain).and_then(|info| info.shutdown());
            // Where one is gone, there is another one now, or none.
            let gone = reason.filter(|_| !guest.preserved).is_some_and(|reason| self.end(index, reason));
            index += usize::from(!gone);
        }
    }

    /// A domain has stopped. Whether it is gone from the list.
    fn end(&mut self, index: usize, reason: u32) -> bool {
        let guest = &mut self.guests[index];
        self.terminal.serve(&mut guest.console);
        self.terminal.flush(&mut guest.console);
        // A reason that nobody knows can only be a remote one: as bad as a crash.
        let shutdown = Shutdown::from_reason(reason).unwrap_or(Shutdown::Crash);
        let (word, verdict) = described(shutdown);
        self.terminal.say(format_args!("domain {} {} ended: {word}", guest.domain, guest.plan.config.name));
        let action = shutdown.action(&guest.plan.config.actions);
        let again = action == Action::Restart && guest.restarts < guest.plan.config.restarts;
        if !again {
            self.verdict = self.verdict.max(verdict);
        }
        if action == Action::Preserve {
            guest.preserved = true;
            return false;
        }
        let Guest { plan, domain, console, store, restarts, .. } = self.guests.remove(index);
        close(console.port());
        close(store.port);
        // Its rings are mapped no more.
        drop((console, store));
        self.store.release(DomainId(domain));
        if let Err(error) = destroy(domain) {
            self.terminal.say(format_args!("domain {domain} cannot be destroyed: {error}"));
        }
        let heir = if again { None } else { self.guests.iter_mut().find(|guest| !guest.preserved) };
        self.terminal.take_from(domain, heir.map(|guest| &mut guest.console));
        if again {
            self.build_again(plan, domain, restarts + 1);
        }
        true
    }

    /// Under the same number, unless somebody still holds what the one before it had.
    fn build_again(&mut self, plan: Plan<'static>, domain: u16, restarts: u32) {
        let domain = match domain_info(domain) {
            None => domain,
            Some(_) => self.free_domain(),
        };
        let name = plan.config.name.clone();
        if let Err(error) = self.add(plan, domain, restarts) {
            self.terminal.say(format_args!("domain '{name}' cannot be built again: {error}"));
            self.verdict = SHUTDOWN_CRASH;
        }
    }
}

/// System time in nanoseconds.
fn now(shared: &SharedPage) -> u64 {
    // SAFETY: reads a counter.
    shared.vcpu_info[0].time().system_time_at(unsafe { _rdtsc() })
}

/// A domain's end in a word, and what it means for the machine's.
fn described(shutdown: Shutdown) -> (&'static str, u32) {
    match shutdown {
        Shutdown::PowerOff => ("poweroff", SHUTDOWN_POWEROFF),
        Shutdown::Suspend => ("suspend", SHUTDOWN_POWEROFF),
        Shutdown::Reboot => ("reboot", SHUTDOWN_REBOOT),
        Shutdown::SoftReset => ("soft-reset", SHUTDOWN_REBOOT),
        Shutdown::Crash => ("crash", SHUTDOWN_CRASH),
        Shutdown::Watchdog => ("watchdog", SHUTDOWN_CRASH),
    }
}

const _: () = assert!(SHUTDOWN_POWEROFF < SHUTDOWN_REBOOT && SHUTDOWN_REBOOT < SHUTDOWN_CRASH);
