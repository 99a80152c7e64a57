//! The domains' consoles on the one that Xen gives the first domain: printed as Paravane prints them. One domain has the
//! console: what it says goes out as it comes, and what is typed goes to it. The lines of the others go out whole and marked.

use alloc::vec::Vec;
use core::fmt::Write as _;

use paravane_core::console::{LineBuffer, OpenLine, drain, fill};

use crate::calls::{console_read, console_write, notify};
use crate::create::Ring;

/// Bytes that are typed and taken at a time.
const TYPED: usize = 64;

/// One domain's console.
#[derive(Debug)]
pub struct Console {
    domain: u16,
    ring: Ring,
    lines: LineBuffer,
}

impl Console {
    /// Of a domain with this ring.
    pub fn new(domain: u16, ring: Ring) -> Self {
        Self { domain, ring, lines: LineBuffer::default() }
    }

    /// This end of its event channel.
    pub const fn port(&self) -> u32 {
        self.ring.port
    }
}

/// Text into bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Adds a marked line.
fn add_marked(lines: &mut Vec<u8>, domain: u16, text: &[u8]) {
    // Memory takes any text.
    let _ = write!(Text(lines), "(d{domain}) ");
    lines.extend_from_slice(text);
    lines.push(b'\n');
}

/// What all consoles have in common.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Who has the console; nobody while it waits for the domain that is built next.
    receiver: Option<u16>,
    /// No domain gets it by itself.
    kept: bool,
    open: OpenLine,
    /// What was typed and found no room in the ring.
    typed: Vec<u8>,
}

impl Terminal {
    /// One that the first domain gets, unless it is kept from all of them.
    pub fn new(kept: bool) -> Self {
        Self { kept, ..Self::default() }
    }

    /// A domain has come to life: it gets the console if that waits for one.
    pub fn offer(&mut self, domain: u16) {
        if !self.kept {
            self.receiver.get_or_insert(domain);
        }
    }

    /// A domain is gone. The console waits for it if it is built again, else it goes to the first of those that are left.
    pub fn take_from(&mut self, domain: u16, heir: Option<&mut Console>) {
        if self.receiver != Some(domain) {
            return;
        }
        self.typed.clear();
        self.receiver = heir.as_ref().map(|console| console.domain);
        if let Some(console) = heir {
            // A line that somebody has begun ends here, and the one that the newcomer has begun goes on.
            self.raw(b"\r\n");
            self.raw(console.lines.text());
            console.lines.clear();
        }
    }

    /// Prints what a domain has queued, and hands it what was typed if it is for it.
    pub fn serve(&mut self, console: &mut Console) {
        let mut output = Vec::new();
        let drained = drain(&mut console.ring.page, |piece| output.extend_from_slice(piece));
        let mut filled = 0;
        if self.receiver == Some(console.domain) {
            self.raw(&output);
            filled = fill(&mut console.ring.page, &self.typed);
            self.typed.drain(..filled);
        } else {
            let mut whole = Vec::new();
            console.lines.push(&output, |line| add_marked(&mut whole, console.domain, line));
            self.lines(&whole);
        }
        if drained != 0 || filled != 0 {
            notify(console.port());
        }
    }

    /// Prints what a domain has begun to say and will not end.
    pub fn flush(&mut self, console: &mut Console) {
        let mut whole = Vec::new();
        console.lines.flush(|line| add_marked(&mut whole, console.domain, line));
        self.lines(&whole);
    }

    /// A line of the toolstack's own.
    pub fn say(&mut self, text: core::fmt::Arguments<'_>) {
        let mut line = Vec::new();
        // Memory takes any text.
        let _ = writeln!(Text(&mut line), "toolstack: {text}");
        self.lines(&line);
    }

    /// Takes what was typed.
    pub fn listen(&mut self) {
        let mut bytes = [0; TYPED];
        // What finds no room is left with the hypervisor.
        while self.typed.len() < TYPED {
            match console_read(&mut bytes) {
                0 => return,
                count => self.typed.extend_from_slice(&bytes[..count]),
            }
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            console_write(bytes);
            self.open.note(bytes);
        }
    }

    /// Prints whole lines between what the domain with the console has said and what it goes on to say.
    fn lines(&mut self, whole: &[u8]) {
        if whole.is_empty() {
            return;
        }
        let mut text = self.open.leave().to_vec();
        text.extend_from_slice(whole);
        text.extend_from_slice(self.open.resume());
        console_write(&text);
    }
}
