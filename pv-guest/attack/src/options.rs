//! The words on this kernel's command line.

/// What this boot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// All attacks that a domain survives.
    All,
    /// `attack=NAME`: one attack.
    One(&'a str),
    /// `attack=smp`: all attacks that need a second vcpu.
    Together,
    /// `attack=bystander`: keep memory and watch it until the domains from 1 to `attackers=NUMBER` (1) are gone.
    Bystander {
        /// The last domain that attacks.
        attackers: u16,
    },
    /// `fuzz=SEED,COUNT[,FROM]`: the steps from FROM to COUNT. `batches`: every other is a long batch.
    Fuzz {
        /// The seed that every step is derived from.
        seed: u64,
        /// The first step.
        from: u64,
        /// One past the last step.
        to: u64,
        /// Every other step is a long batch of calls.
        batches: bool,
    },
}

/// Reads the command line; words that are not this kernel's are passed over. `None` when a word of its own makes no
/// sense.
pub fn parse(line: &str) -> Option<Task<'_>> {
    let mut task = Task::All;
    let attackers = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("attackers="));
    let attackers = attackers.map_or(Some(1), |text| text.parse().ok())?;
    let batches = line.split_ascii_whitespace().any(|word| word == "batches");
    for word in line.split_ascii_whitespace() {
        if let Some(name) = word.strip_prefix("attack=") {
            task = match name {
                "all" => Task::All,
                "smp" => Task::Together,
                "bystander" => Task::Bystander { attackers },
                name => Task::One(name),
            };
        } else if let Some(numbers) = word.strip_prefix("fuzz=") {
            task = fuzz(numbers, batches)?;
        }
    }
    Some(task)
}

fn fuzz(text: &str, batches: bool) -> Option<Task<'_>> {
    let mut numbers = text.split(',').map(number);
    let seed = numbers.next()??;
    let to = numbers.next()??;
    let from = match numbers.next() {
        Some(from) => from?,
        None => 0,
    };
    (numbers.next().is_none() && from <= to).then_some(Task::Fuzz { seed, from, to, batches })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read() {
        assert_eq!(parse(""), Some(Task::All));
        assert_eq!(parse("demo attack=all x=y"), Some(Task::All));
        assert_eq!(parse("attack=no-handler"), Some(Task::One("no-handler")));
        assert_eq!(parse("demo attack=bystander"), Some(Task::Bystander { attackers: 1 }));
        assert_eq!(parse("attack=bystander attackers=7"), Some(Task::Bystander { attackers: 7 }));
        assert_eq!(parse("attack=smp"), Some(Task::Together));
        let fuzz = |seed, from, to, batches| Some(Task::Fuzz { seed, from, to, batches });
        assert_eq!(parse("fuzz=7,1000"), fuzz(7, 0, 1000, false));
        assert_eq!(parse("fuzz=0x10,1000,500 batches"), fuzz(16, 500, 1000, true));
    }

    #[test]
    fn nonsense_is_noticed() {
        for bad in ["fuzz=", "fuzz=1", "fuzz=a,1", "fuzz=1,2,3", "fuzz=1,2,1,4", "fuzz=1,-2"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
