//! A job that can be divided: counting and summing the primes of ranges.

/// Numbers in a piece; a piece's sieve fits a small stack.
pub const PIECE: usize = 16 * 1024;

/// How many primes there are in a range, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Primes {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl Primes {
    /// Both ranges' together.
    #[must_use]
    pub fn and(self, other: Primes) -> Primes {
        Primes { count: self.count + other.count, sum: self.sum + other.sum }
    }
}

/// The primes of piece `number`: of the numbers from `number * PIECE` on, [`PIECE`] of them.
pub fn of_piece(number: usize) -> Primes {
    let start = number * PIECE;
    let mut composite = [false; PIECE];
    let mut factor = 2;
    while factor * factor < start + PIECE {
        let first = (factor * factor).max(start.next_multiple_of(factor));
        for multiple in (first..start + PIECE).step_by(factor) {
            composite[multiple - start] = true;
        }
        factor += if factor == 2 { 1 } else { 2 };
    }
    let mut primes = Primes::default();
    for (offset, composite) in composite.into_iter().enumerate() {
        let n = start + offset;
        if n >= 2 && !composite {
            primes.count += 1;
            primes.sum += n as u64;
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_counts() {
        let first = of_piece(0);
        // The 1,900th prime is 16381.
        assert_eq!(first.count, 1900);
        let by_division =
            |n: usize| n >= 2 && (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        let sum: usize = (PIECE..2 * PIECE).filter(|&n| by_division(n)).sum();
        assert_eq!(of_piece(1).sum, sum as u64);
        // Primes below 2^20.
        let all = (0..64).map(of_piece).fold(Primes::default(), Primes::and);
        assert_eq!(all.count, 82025);
    }
}
