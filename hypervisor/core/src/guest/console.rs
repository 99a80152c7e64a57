//! What guests print, and what is typed to them: the serial port's side of the consoles.

use alloc::vec::Vec;
use core::fmt::Write as _;
use core::mem;

use log::Level;

use super::ring::Page;
use crate::addr::DomainId;
use crate::calls::STEPS_A_BYTE;
use crate::cmdline::Options;
use crate::console::{self, Focus, Key, LineBuffer, Receiver};
use crate::domain::{Domain, Life};
use crate::event::Backend;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Typed bytes kept while the guest's ring is full.
pub const TYPED_MAX: usize = 1024;

/// Puts a line of a domain's, with its mark, behind others.
fn add_marked(lines: &mut Vec<u8>, id: DomainId, text: &[u8]) {
    // Memory takes any text.
    let _ = write!(Text(lines), "({id}) ");
    lines.extend_from_slice(text);
    lines.extend_from_slice(b"\r\n");
}

/// Formatted text into bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl<M: Machine> Hypervisor<M> {
    /// Does what the command line says of the consoles. Called before there is a domain.
    pub fn configure_consoles(&mut self, options: &Options) {
        self.terminal.loglvl = options.guest_loglvl;
        self.terminal.focus = Focus::new(options.conswitch);
    }

    /// Prints what a domain has queued; the one that has the console is handed what was typed.
    pub(crate) fn serve_console(&mut self, index: usize) {
        let Self { frames, machine, domains, typed, output, terminal, .. } = self;
        let Domain { id, console, pc, .. } = &domains[index];
        if pc.is_some() && terminal.focus.is_at(*id) {
            return self.type_to_pc(index);
        }
        if !console.held {
            return;
        }
        let Some(writer) = frames.writable(console.frame, *id) else { return };
        let mut page = Page { machine: &*machine, writer };
        output.clear();
        let drained = console::drain(&mut page, |piece| output.extend_from_slice(piece));
        let mut filled = 0;
        if terminal.focus.is_at(*id) {
            filled = console::fill(&mut page, typed.make_contiguous());
            typed.drain(..filled);
        }
        let output = mem::take(output);
        self.print_of(index, &output, None);
        self.output = output;
        if drained != 0 || filled != 0 {
            self.raise_console(index);
        }
    }

    /// Prints a domain's output: as it comes if the domain has the console, else by whole lines. A level is that of
    /// `guest_loglvl` at which the lines count; Xen has none for what comes from a console ring.
    pub(crate) fn print_of(&mut self, index: usize, bytes: &[u8], level: Option<Level>) {
        let now = self.now();
        let Self { machine, domains, terminal, step, .. } = self;
        let Domain { id, lines, .. } = &mut domains[index];
        if terminal.focus.is_at(*id) {
            machine.console_write(bytes);
            step.charge(STEPS_A_BYTE * bytes.len() as u32);
            return;
        }
        let mut whole = Vec::new();
        lines.push(bytes, |line| {
            if level.is_none_or(|level| terminal.allows(level, now)) {
                add_marked(&mut whole, *id, line);
            }
        });
        if !whole.is_empty() {
            machine.console_lines(&whole);
        }
        step.charge(STEPS_A_BYTE * (bytes.len() + whole.len()) as u32);
    }

    /// Prints what a domain has begun to say and will not end.
    pub(crate) fn flush_lines(&mut self, index: usize) {
        let Self { machine, domains, .. } = self;
        let Domain { id, lines, .. } = &mut domains[index];
        let mut whole = Vec::new();
        lines.flush(|line| add_marked(&mut whole, *id, line));
        if !whole.is_empty() {
            machine.console_lines(&whole);
        }
    }

    fn raise_console(&mut self, index: usize) {
        let port = self.domains[index].console.port;
        let (ports, bits) = self.events(index);
        if let Some(raised) = ports.raise_backend(&bits, port, Backend::Console) {
            self.wake_in(index, raised);
        }
    }

    /// The serial port has received something: it goes to whoever has the console.
    pub fn console_interrupt(&mut self) {
        self.enter();
        // A port that always has another byte, broken or absent, must not keep the hypervisor.
        for _ in 0..TYPED_MAX {
            let Some(byte) = self.machine.console_read() else { break };
            match self.terminal.focus.key(byte) {
                Key::Kept => {}
                Key::Switch => self.switch_input(),
                Key::Passed(kept) => {
                    let code = self.terminal.focus.code();
                    (0..kept).for_each(|_| self.receive(code));
                    self.receive(byte);
                }
            }
        }
        self.hand_over();
    }

    /// Hands the domain that has the console what was typed.
    fn hand_over(&mut self) {
        if let Receiver::Domain(id) = self.terminal.focus.receiver
            && let Some(index) = self.domain_index(id)
        {
            self.serve_console(index);
        }
    }

    /// A typed byte that is not about switching.
    fn receive(&mut self, byte: u8) {
        match self.terminal.focus.receiver {
            Receiver::Hypervisor => self.obey(byte),
            Receiver::Domain(_) | Receiver::Next if self.typed.len() < TYPED_MAX => {
                self.typed.push_back(byte)
            }
            Receiver::Domain(_) | Receiver::Next => {}
        }
    }

    /// Three of the switching key were typed.
    fn switch_input(&mut self) {
        // What was typed before is still for whom it was typed to.
        self.hand_over();
        let there = self.domains.iter().filter(|domain| domain.life != Life::Dying).map(|domain| domain.id);
        let next = self.terminal.focus.next(there);
        self.give_input(next);
        self.announce_input(Level::Warn);
    }

    /// Gives somebody the console.
    fn give_input(&mut self, receiver: Receiver) {
        self.typed.clear();
        self.terminal.focus.receiver = receiver;
        // A line that somebody has begun ends here, and the one that the newcomer has begun goes on.
        self.machine.console_write(b"\r\n");
        if let Receiver::Domain(id) = receiver
            && let Some(index) = self.domain_index(id)
        {
            let Self { machine, domains, .. } = self;
            let lines: &mut LineBuffer = &mut domains[index].lines;
            machine.console_write(lines.text());
            lines.clear();
        }
    }

    fn announce_input(&self, level: Level) {
        let focus = &self.terminal.focus;
        let hint = focus.switch.letter.map(|letter| Hint(letter as char));
        let hint: &dyn core::fmt::Display = match &hint {
            Some(hint) => hint,
            None => &"",
        };
        match focus.receiver {
            Receiver::Domain(DomainId(id)) => log::log!(level, "*** Serial input to DOM{id}{hint}"),
            Receiver::Hypervisor => log::log!(level, "*** Serial input to the hypervisor{hint}"),
            Receiver::Next => {}
        }
    }

    /// A domain has come to life: it gets the console if that waits for one.
    pub(crate) fn offer_input(&mut self, id: DomainId) {
        if self.terminal.focus.receiver == Receiver::Next {
            self.terminal.focus.receiver = Receiver::Domain(id);
            self.announce_input(Level::Info);
        }
    }

    /// A domain is gone. The console waits for it if it is built again, else it goes to the first of those that are left.
    pub(crate) fn take_input_from(&mut self, id: DomainId, again: bool) {
        if !self.terminal.focus.is_at(id) {
            return;
        }
        let left = self.domains.iter().find(|domain| domain.life != Life::Dying).map(|domain| domain.id);
        match left.filter(|_| !again) {
            Some(id) => {
                self.give_input(Receiver::Domain(id));
                self.announce_input(Level::Info);
            }
            None => self.terminal.focus.receiver = Receiver::Next,
        }
    }
}

/// How to switch, in words.
struct Hint(char);

impl core::fmt::Display for Hint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, " (type 'CTRL-{}' three times to switch input)", self.0)
    }
}
