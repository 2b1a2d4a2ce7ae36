//! Medians, and ratios of what was measured in the same turn.

/// The middle one; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// One list of samples for each contender, filled in turns: the n-th of every list belong to one turn.
pub struct Turns {
    samples: Vec<Vec<f64>>,
}

impl Turns {
    /// Measures each of `count` contenders once a turn. The first `warm_up` turns do not count.
    pub fn take(count: usize, warm_up: usize, turns: usize, mut measure: impl FnMut(usize) -> f64) -> Turns {
        let mut samples = vec![Vec::with_capacity(turns); count];
        for turn in 0..warm_up + turns {
            for place in 0..count {
                // Not always the same neighbour before.
                let contender = (place + turn) % count;
                let sample = measure(contender);
                if turn >= warm_up {
                    samples[contender].push(sample);
                }
            }
        }
        Turns { samples }
    }

    pub fn median(&self, contender: usize) -> f64 {
        median(&self.samples[contender])
    }

    /// The median of the ratios, turn by turn.
    pub fn ratio(&self, contender: usize, base: usize) -> f64 {
        let pairs = self.samples[contender].iter().zip(&self.samples[base]);
        median(&pairs.map(|(value, base)| value / base).collect::<Vec<f64>>())
    }
}
