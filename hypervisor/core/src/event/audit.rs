//! Recounts the port tables from scratch.

use core::fmt;

use super::form::Form;
use super::table::is_global;
use super::{Channel, FIFO_PORTS, GROUP, Port, PortTable};
use crate::addr::DomainId;

/// An inconsistency, with the port where it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditError {
    /// The domain.
    pub domain: DomainId,
    /// The port; 0 when it is the table as a whole.
    pub port: Port,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event channels of {}: port {}: {}", self.domain, self.port, self.what)
    }
}

impl core::error::Error for AuditError {}

/// Checks each table by itself, and that every connection between two of them is known to both ends. Pass the
/// tables of all domains.
pub fn audit(tables: &[&PortTable]) -> Result<(), AuditError> {
    for table in tables {
        table.audit()?;
        for (port, entry) in table.entries.iter().enumerate() {
            let Channel::Interdomain { remote, port: peer } = entry.channel else { continue };
            let port = port as Port;
            let back = Channel::Interdomain { remote: table.domain, port };
            let known = tables
                .iter()
                .find(|other| other.domain == remote)
                .and_then(|other| other.entry(peer).ok())
                .is_some_and(|entry| entry.channel == back);
            if !known {
                return Err(AuditError { domain: table.domain, port, what: "the peer does not point back" });
            }
        }
    }
    Ok(())
}

impl PortTable {
    /// Checks all that concerns this domain alone.
    pub fn audit(&self) -> Result<(), AuditError> {
        let fail = |port: usize, what| Err(AuditError { domain: self.domain, port: port as Port, what });
        if self.entries.is_empty()
            || !self.entries.len().is_multiple_of(GROUP)
            || self.entries.len() > FIFO_PORTS as usize
        {
            return fail(0, "the number of valid ports is no multiple of a group");
        }
        if self.reset_at as usize >= self.entries.len() {
            return fail(0, "a reset lies past the valid ports");
        }
        let mut active = 0;
        for (port, entry) in self.entries.iter().enumerate() {
            let free = entry.channel == Channel::Free;
            if (entry.channel == Channel::Reserved) != (port == 0) {
                return fail(port, "port 0 and no other is reserved");
            }
            if free && entry.vcpu != 0 {
                return fail(port, "a free port notifies a vcpu");
            }
            if entry.vcpu as usize >= self.virqs.len() {
                return fail(port, "the port notifies a vcpu that does not exist");
            }
            if !free && port > self.port_max as usize {
                return fail(port, "the port lies above the domain's limit");
            }
            if let Channel::Virq(virq) = entry.channel {
                let line = if is_global(virq) { 0 } else { entry.vcpu as usize };
                if self.virqs[line].get(virq as usize) != Some(&(port as Port)) {
                    return fail(port, "the VIRQ is not bound to this port");
                }
            }
            active += u32::from(!free && port != 0);
        }
        if let Form::Fifo(fifo) = &self.form
            && let Err((port, what)) = fifo.audit(self.virqs.len(), &self.entries)
        {
            return fail(port, what);
        }
        if active != self.active {
            return fail(0, "the count of ports in use is wrong");
        }
        for (vcpu, line) in self.virqs.iter().enumerate() {
            for (virq, &port) in line.iter().enumerate().filter(|(_, port)| **port != 0) {
                let bound = self.entry(port).is_ok_and(|entry| {
                    entry.channel == Channel::Virq(virq as u32)
                        && (is_global(virq as u32) || entry.vcpu as usize == vcpu)
                });
                if !bound || (is_global(virq as u32) && vcpu != 0) {
                    return fail(port as usize, "a VIRQ names a port that is not bound to it");
                }
            }
        }
        Ok(())
    }
}
