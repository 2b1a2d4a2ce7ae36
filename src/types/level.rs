//! How much a log line matters, and how much of the log the operator wants.

/// The importance of a log line, the most important first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Something that the operator requested failed: a start, a reload, a stop.
    Error,
    /// Something is missing or lost, and the master goes on without it.
    Warning,
    /// A step of the life cycle: a generation starts, becomes current, or stops.
    Notice,
    /// A detail that helps to find a fault.
    Info,
}

/// How much of the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Verbosity {
    /// Errors and warnings only.
    Quiet,
    /// Notices too.
    #[default]
    Normal,
    /// Details too.
    Verbose,
}

impl Verbosity {
    /// Whether a line of this level is written.
    pub fn shows(self, level: Level) -> bool {
        level
            <= match self {
                Verbosity::Quiet => Level::Warning,
                Verbosity::Normal => Level::Notice,
                Verbosity::Verbose => Level::Info,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_keeps_failures_and_verbose_adds_details() {
        let shown = |verbosity: Verbosity| {
            [Level::Error, Level::Warning, Level::Notice, Level::Info].into_iter().filter(|level| verbosity.shows(*level)).count()
        };
        assert_eq!([Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose].map(shown), [2, 3, 4]);
    }
}
